"""Select, pass 2, spend and generate: everything that depends on the question."""

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from bvllm.app.encode import EncodedVideo, Progress
from bvllm.app.loading import LoadedModel
from bvllm.app.results import SELECT, Answer, ChosenFrame, Select, Settings
from bvllm.app.session import Session
from bvllm.common.threads import map_in_order, one_kernel_thread, usable_cores
from bvllm.data.chat import LETTERS, join_options, parse_letter
from bvllm.model.question import split_options
from bvllm.model.selecting import spread_evenly
from bvllm.types import Budget, FrameSelection

_CLOSING_LETTER = re.compile(r"\(\s*[A-H]\s*\)\s*\.?\s*$")


def answer(
    encoded: EncodedVideo,
    question: str,
    loaded: LoadedModel,
    *,
    budget: Budget | None = None,
    options: Sequence[str] | None = None,
    select: Select = "learned",
    max_new_tokens: int = 48,
    session: Session | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Answer:
    """Answer one question about a video that was encoded; the next question needs no decoding either.

    Args:
        encoded: what `encode_video` gave, from the same model.
        question: the user's text; options may stand below it, one a line, as `A. red`.
        loaded: the model.
        budget: the most that the language model may be given; None is 512 tokens from 32 frames.
        options: what to choose from, in place of options in the text.
        select: "learned" chooses frames by the question, "uniform" takes evenly spaced ones.
        max_new_tokens: length limit of the answer.
        session: what earlier questions about this video left behind; cheaper, and never another answer.
        threads: frames encoded in parallel on a CPU; None takes one per core. The answer is the same.
        progress: told about each step.

    Errors:
        ValueError where the question is empty, the options do not fit, or a setting is out of range.
    """
    stem, choices = split_question(question, options)
    _check(select, max_new_tokens)
    budget, session = budget or Budget(), session or Session()
    session.begin(encoded)
    clock, used = _Clock(progress), _used_budget(budget, loaded)
    with torch.inference_mode(), one_kernel_thread():
        question_ids = loaded.question_ids(stem)
        with clock.step("select"):
            selection = _select(encoded, question_ids, loaded, used, select)
        chosen = selection.frames.tolist()
        with clock.step("encode patches"):
            patches = session.patches.get(chosen, lambda new: _encode_patches(new, encoded, loaded, threads))
        with clock.step("sample and merge tokens"):
            visual = loaded.model.model.spend(patches, [selection], *question_ids, budget=used)
        with clock.step("answer"):
            text = loaded.generate(join_options(stem, choices), visual, max_new_tokens, session.prompt)
    return Answer(
        question=stem,
        options=tuple(choices),
        text=text,
        letter=named_letter(text, choices),
        frames=_chosen_frames(encoded, selection),
        tokens=visual.lengths[0],
        patches_per_frame=patches.shape[1],
        frames_total=len(encoded),
        timings={**encoded.timings, **clock.timings},
        asked=Settings(encoded.asked_fps, budget.tokens, budget.frames, select, max_new_tokens),
        used=Settings(encoded.used_fps, used.tokens, used.frames, select, max_new_tokens),
        visual=visual,
    )


def split_question(text: str, options: Sequence[str] | None = None) -> tuple[str, list[str]]:
    """The question proper and its options.

    Errors:
        ValueError where there is no question, or the options are too few, too many, empty or given twice.

    Example:
        >>> split_question("which colour?\\nA. red\\nB. blue")
        ('which colour?', ['red', 'blue'])
    """
    stem, written = split_options(text)
    if options and written:
        raise ValueError(
            f"options must come from one place, got {len(written)} in the question and {len(options)} "
            "beside it: leave out one of the two"
        )
    stem, choices = stem.strip(), [" ".join(choice.split()) for choice in options or written]
    if not stem:
        raise ValueError(f"question must hold words, got {text!r}: write what you want to know")
    if choices and not (2 <= len(choices) <= len(LETTERS) and all(choices)):
        raise ValueError(f"options must be 2 to {len(LETTERS)} texts, got {choices}: add or remove some")
    return stem, choices


class _Clock:
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


def _check(select: str, max_new_tokens: int) -> None:
    if select not in SELECT:
        raise ValueError(f"select must be 'learned' or 'uniform', got {select!r}: use one of these")
    if max_new_tokens < 1:
        raise ValueError(f"max_new_tokens must be at least 1, got {max_new_tokens}: an answer needs one")


def _used_budget(asked: Budget, loaded: LoadedModel) -> Budget:
    """No model chooses more frames than it has queries."""
    return Budget(asked.tokens, min(asked.frames, loaded.model.config.num_selected_frames))


def _select(
    encoded: EncodedVideo,
    question_ids: tuple[Tensor, Tensor],
    loaded: LoadedModel,
    budget: Budget,
    how: Select,
) -> FrameSelection:
    seconds = encoded.seconds.to(loaded.device)
    if how == "uniform":
        return spread_evenly(seconds, budget.frames)
    features = encoded.frame_features.to(loaded.device, loaded.model.dtype)
    return loaded.model.model.select([features], [seconds], *question_ids, budget=budget)[0]


def _encode_patches(
    frames: list[int], encoded: EncodedVideo, loaded: LoadedModel, threads: int | None
) -> list[Tensor]:
    """(N, C) of each frame, so many at a time that what a frame gives does not depend on its company."""
    steps = encoded.store.get(frames).split(loaded.patch_step)
    workers = (threads or usable_cores()) if loaded.device.type == "cpu" else 1
    return [patches for step in map_in_order(loaded.patch_features, steps, workers) for patches in step]


def _chosen_frames(encoded: EncodedVideo, selection: FrameSelection) -> tuple[ChosenFrame, ...]:
    chosen = selection.frames.tolist()
    rows = zip(chosen, encoded.seconds[chosen].tolist(), selection.scores.tolist())
    return tuple(ChosenFrame(*row) for row in rows)


def named_letter(text: str, choices: Sequence[str]) -> str | None:
    """The option that an answer names: by its words where they are those of one option, else by its letter.

    What follows the last "=" is the answer, what stands before it is evidence; a letter in brackets may
    close it.
    """
    said = _plain_words(_CLOSING_LETTER.sub("", text.rpartition("=")[2]))
    named = [letter for letter, choice in zip(LETTERS, choices) if _plain_words(choice) == said]
    if len(named) == 1:
        return named[0]
    letter = parse_letter(text)
    return letter if letter is not None and letter in LETTERS[: len(choices)] else None


def _plain_words(text: str) -> str:
    return " ".join(text.casefold().strip(" .").split())
