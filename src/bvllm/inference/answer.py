"""Answer a question about an encoded video: select frames, encode patches, reduce, generate."""

import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import NamedTuple, Unpack

import torch
from torch import Tensor

from bvllm.common.reply import ANSWER_TOKENS
from bvllm.common.text import LETTERS, Question
from bvllm.common.threads import map_in_order, one_kernel_thread, usable_cores
from bvllm.inference.beside import Subtitles, cues_of, shown_with
from bvllm.inference.encode import EncodedVideo, Progress
from bvllm.inference.model import AskedQuestion, ReducesStream, VideoModel, VisualTokens
from bvllm.inference.results import Answer, ChosenFrame, QuestionSettings
from bvllm.inference.session import PromptCache, Session
from bvllm.methods import is_learned
from bvllm.methods.names import MethodNames, Slots, reading_of
from bvllm.stages.patch_signals import PatchSignals
from bvllm.stages.pipeline import frames_needed
from bvllm.stages.reading import Reading
from bvllm.types import Budget, FrameSelection

STREAMED = 16  # frames whose patches are in memory together, where a model lets them go one by one
# What `VideoModel.generate` is given first, and gives.
Speak = Callable[[AskedQuestion, VisualTokens, int, PromptCache], str]


def answer(
    encoded: EncodedVideo,
    question: str | Question,
    loaded: VideoModel,
    *,
    budget: Budget | None = None,
    options: Sequence[str] | None = None,
    select: str = "learned",
    subtitles: Subtitles | None = None,
    max_new_tokens: int = ANSWER_TOKENS,
    session: Session | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
    speak: Speak | None = None,
    methods: MethodNames | None = None,
    **slots: Unpack[Slots],
) -> Answer:
    """Answer one question about a video that was encoded; the next question needs no decoding either.

    Args:
        encoded: what `encode_video` gave, from the same model.
        question: the user's text; options may stand below it, one a line, as `A. red`.
        loaded: the model.
        budget: the most that the language model may be given; None takes the model's own.
        options: what to choose from, in place of options in the text; the answer is then the likeliest.
        select: the older way to name `select_frames`; "learned" is the model's own.
        subtitles: an SRT or VTT file, or cues, for the language model; those near chosen frames, if not all.
        max_new_tokens: length limit of the answer.
        session: what earlier questions about this video left behind.
        threads: frames encoded in parallel on a CPU; None takes one per core.
        progress: called with (step, done, all).
        speak: says the free words in place of `loaded.generate`: aloud, or together with other answers.
        methods: a method for any slot of the pipeline, by name; the model's own where None.
        **slots: the same as keywords: `select_frames="uniform", merge_tokens="tome"`.

    Raises:
        ValueError: question, options, methods, settings or subtitles make no sense. See `check_arguments`.
    """
    check_arguments(loaded, budget, max_new_tokens)
    asked, names = loaded.read(Question.parse(question, options)), method_names(select, methods, slots)
    cues = shown_with(cues_of(subtitles), encoded.seconds.tolist(), 1.0 / (encoded.used_fps or 1.0))
    filled = loaded.methods(names)
    budget, session = budget or loaded.budget, session or Session()
    session.begin(encoded)
    clock = Clock(progress)
    used = Budget(budget.tokens, min(budget.frames, loaded.most_frames))
    with torch.inference_mode(), one_kernel_thread():
        with clock.step("select"):
            selection = loaded.select(encoded.frame_features, encoded.seconds, asked, used, names)
        around = _Around(encoded, loaded, session, threads, clock)
        visual, each = _visual_tokens(around, selection, asked, used, names)
        asked = loaded.fit_subtitles(replace(asked, subtitles=cues), visual, max_new_tokens)
        with clock.step("answer"):
            said = (speak or loaded.generate)(asked, visual, max_new_tokens, session.prompt)
            likely = likelihoods(asked, visual, said, loaded, session)
    how = None if is_learned("select_frames", filled["select_frames"]) else filled["select_frames"]
    text, letter = likeliest(asked.question.options, likely) or (said, None)
    return Answer(
        question=asked.question.stem,
        options=asked.question.options,
        text=text,
        free_text=said,
        letter=letter,
        likelihoods=likely,
        doubts=loaded.doubts(asked, encoded.frame_features),
        question_left_out=asked.left_out,
        subtitles=len(asked.subtitles),
        subtitles_left_out=len(cues) - len(asked.subtitles),
        frames=_chosen_frames(encoded, selection),
        tokens=sum(visual.spent),
        patches_per_frame=each,
        frames_total=len(encoded),
        timings={**encoded.timings, **clock.timings},
        asked=settings_of(encoded.asked_fps, budget, names.select_frames, max_new_tokens, names.given),
        used=settings_of(encoded.used_fps, used, how, max_new_tokens, filled),
        visual=visual,
    )


def settings_of(
    fps: float | None, budget: Budget, select: str | None, max_new_tokens: int, methods: Mapping[str, str]
) -> QuestionSettings:
    """The knobs of a question; frames are chosen by the model's own selector where no method is named."""
    return QuestionSettings(fps, budget.tokens, budget.frames, select or "learned", max_new_tokens, methods)


def check_arguments(loaded: object, budget: object, max_new_tokens: int) -> None:
    """Refuse what is likely to be passed by mistake, before the long work.

    Raises:
        TypeError: a model's name in place of the model, or a number in place of the budget.
        ValueError: no token may be said.
    """
    if isinstance(loaded, str | os.PathLike):
        raise TypeError(f"loaded must be a model, got {loaded!r}: pass bvllm.load_model({str(loaded)!r})")
    if budget is not None and not isinstance(budget, Budget):
        raise TypeError(f"budget must be a Budget, got {budget!r}: write bvllm.Budget(tokens={budget!r})")
    if max_new_tokens < 1:
        raise ValueError(f"max_new_tokens must be at least 1, got {max_new_tokens}: an answer needs one")


def likelihoods(
    asked: AskedQuestion, visual: VisualTokens, said: str, loaded: VideoModel, session: Session
) -> tuple[float, ...]:
    """How likely each option is among all options; they sum to 1."""
    if not asked.question.options:
        return ()
    scores = loaded.option_scores(asked, visual, said, session.prompt)
    return tuple(torch.tensor(scores, dtype=torch.float64).softmax(dim=0).tolist())


def likeliest(options: tuple[str, ...], likely: tuple[float, ...]) -> tuple[str, str] | None:
    """The option that is the answer, and its letter; None where there are no options.

    Equal options are one answer, as likely as they are together.
    """
    if not options:
        return None
    together = {option: sum(p for other, p in zip(options, likely) if other == option) for option in options}
    chosen = max(together, key=together.__getitem__)
    return chosen, LETTERS[options.index(chosen)]


def method_names(select: str, methods: MethodNames | None, slots: Slots) -> MethodNames:
    """One value from the ways to name methods.

    Raises:
        ValueError: a name is unknown, or methods were named in two ways.
    """
    named = [slot for slot, value in slots.items() if value is not None]
    if methods is not None and named:
        raise ValueError(f"methods must be named once, got methods= and {', '.join(named)}: leave out one")
    names = MethodNames(**slots) if methods is None else methods
    if select == "learned":
        return names
    if select != "uniform":
        raise ValueError(
            f"select must be 'learned' or 'uniform', got {select!r}: name other methods with select_frames"
        )
    if names.select_frames not in (None, select):
        raise ValueError(
            f"select must agree with select_frames={names.select_frames!r}, got {select!r}: leave out select"
        )
    return replace(names, select_frames=select)


class Clock:
    """Times each step and tells about it."""

    def __init__(self, progress: Progress | None) -> None:
        self.timings: dict[str, float] = {}
        self._progress = progress

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        self._tell(name, 0)
        started = time.perf_counter()
        yield
        self.timings[name] = time.perf_counter() - started
        self._tell(name, 1)

    def _tell(self, name: str, done: int) -> None:
        if self._progress is not None:
            self._progress(name, done, 1)


class _Around(NamedTuple):
    """What is the same for every step of one answer."""

    encoded: EncodedVideo
    loaded: VideoModel
    session: Session
    threads: int | None
    clock: Clock


def _visual_tokens(
    around: _Around, selection: FrameSelection, asked: AskedQuestion, used: Budget, names: MethodNames
) -> tuple[VisualTokens, int]:
    """Visual tokens of the chosen frames, and how many patches a frame has: in one go, or frame by frame."""
    encoded, loaded, session, threads, clock = around
    if isinstance(loaded, ReducesStream):
        with clock.step("encode and compress frames"):
            stream = _patch_stream(selection, encoded, loaded, threads)
            visual = loaded.reduce_stream(stream, selection, asked, used, names)
        return visual, math.prod(visual.grid or ())
    reading = reading_of(loaded.methods(names))
    with clock.step("encode patches"):
        needed = frames_needed(selection).tolist()
        patches, seen = encoded_patches(needed, encoded, loaded, session, threads, reading)
    with clock.step("sample and merge tokens"):
        visual = loaded.reduce(patches, selection, asked, used, names, *seen)
    return visual, patches.shape[1]


def encoded_patches(
    frames: list[int],
    encoded: EncodedVideo,
    loaded: VideoModel,
    session: Session,
    threads: int | None,
    reading: Reading,
) -> tuple[Tensor, tuple[PatchSignals, ...]]:
    """(n, N, C) patches of frames, and, where methods go by it, what the tower's attention says of them.

    So many at a time that what a frame gives does not depend on its company.
    """
    workers = (threads or usable_cores()) if loaded.device.type == "cpu" else 1

    def encode(new: list[int]) -> list[tuple[Tensor, ...]]:
        steps = torch.split(encoded.store.get(new), loaded.patch_step)
        if not reading:
            done = map_in_order(loaded.patch_features, steps, workers)
            return [(patches,) for step in done for patches in step]
        read = map_in_order(lambda step: loaded.read_patches(step, reading), steps, workers)
        return [row for patches, seen in read for row in zip(patches, *(s for s in seen if s is not None))]

    patches, *known = session.patches.get_with(frames, encode, reading or None)
    if not reading:
        return patches, ()
    parts = iter(known)
    attention = next(parts) if reading.lookers else None
    return patches, (PatchSignals(attention, next(parts, None)),)


def _patch_stream(
    selection: FrameSelection, encoded: EncodedVideo, loaded: VideoModel, threads: int | None
) -> Iterator[Tensor]:
    """(N, C) patches of each row of a selection, in its order; at most `STREAMED` are in memory.

    What `mixed` gives, row by row: a frame that stands in several rows is encoded for each of them.
    """
    if not selection.is_mixture:
        yield from _patches_of(selection.frames.tolist(), encoded, loaded, threads)
        return
    for weights in selection.weights:
        frames = weights.nonzero()[:, 0].tolist()
        parts = zip(weights[frames].tolist(), _patches_of(frames, encoded, loaded, threads))
        share, patches = next(parts)
        row = share * patches
        for share, patches in parts:
            row += share * patches
        yield row


def _patches_of(
    frames: list[int], encoded: EncodedVideo, loaded: VideoModel, threads: int | None
) -> Iterator[Tensor]:
    """(N, C) patches of one frame after another, in the order asked for."""
    workers = (threads or usable_cores()) if loaded.device.type == "cpu" else 1
    for start in range(0, len(frames), STREAMED):
        steps = torch.split(encoded.store.get(frames[start : start + STREAMED]), loaded.patch_step)
        for patches in map_in_order(loaded.patch_features, steps, workers):
            yield from patches


def _chosen_frames(encoded: EncodedVideo, selection: FrameSelection) -> tuple[ChosenFrame, ...]:
    chosen = selection.frames.tolist()
    rows = zip(chosen, encoded.seconds[chosen].tolist(), selection.scores.tolist())
    return tuple(ChosenFrame(*row) for row in rows)
