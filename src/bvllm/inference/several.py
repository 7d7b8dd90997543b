"""Answer a question about several videos, and pictures beside them, in one prompt and on one budget.

a, b = encode_video("a.mp4", loaded), encode_video("b.mp4", loaded)
answer_several([a, b], "in which is it later?", loaded, sessions=(sessions := [Session(), Session()]))
answer_several([a, b], "which is brighter?", loaded, sessions=sessions)     # no frame is encoded twice
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple, Unpack

import torch
from torch import Tensor

from bvllm.common.reply import ANSWER_TOKENS
from bvllm.common.text import Question
from bvllm.common.threads import one_kernel_thread
from bvllm.inference.answer import (
    Clock,
    check_arguments,
    encoded_patches,
    likeliest,
    likelihoods,
    method_names,
    settings_of,
)
from bvllm.inference.encode import EncodedVideo, Progress
from bvllm.inference.model import AskedQuestion, ReadsSeveral, VideoModel, VisualTokens
from bvllm.inference.results import Answer, ChosenFrame, ClipShare, QuestionSettings
from bvllm.inference.session import Session
from bvllm.inference.turns import Turn, kinds_in, one_turn, with_last_words
from bvllm.methods.names import MethodNames, Slots, reading_of
from bvllm.model.backbones.several import ClipKind, counted, one_a_prompt
from bvllm.stages.patch_signals import PatchSignals
from bvllm.stages.pipeline import frames_needed
from bvllm.types import Budget, Clip, FrameSelection

if TYPE_CHECKING:

    class _SeveralModel(VideoModel, ReadsSeveral):
        """A model that does both."""


PICTURES = "pictures"  # a session keeps a picture's patches apart from those of the same frame in a video


def answer_several(
    clips: Sequence[EncodedVideo],
    question: str | Question,
    loaded: VideoModel,
    *,
    kinds: Sequence[ClipKind] | None = None,
    names: Sequence[str] | None = None,
    turns: tuple[Turn, ...] = (),
    budget: Budget | None = None,
    options: Sequence[str] | None = None,
    max_new_tokens: int = ANSWER_TOKENS,
    sessions: Sequence[Session] | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
    methods: MethodNames | None = None,
    **slots: Unpack[Slots],
) -> Answer:
    """Answer one question about several clips that were encoded; arguments and errors else as for `answer`.

    Args:
        clips: in the order of the prompt.
        question: the user's text.
        loaded: the model.
        kinds: what each is shown as; None shows a still picture as a picture, all else as a video.
        names: what to call them; None counts them.
        turns: the conversation that the question ends; None shows all clips and then the question.
        budget: of all clips together.
        sessions: what earlier questions left behind, one for each clip.

    Raises:
        ValueError: the model cannot read these clips together, or the budget is below their number.
    """
    check_arguments(loaded, budget, max_new_tokens)
    method = method_names("learned", methods, slots)
    shown, budget = tuple(kinds or kinds_of(clips)), budget or loaded.budget
    model = check_several(loaded, shown, budget, method)
    asked = _asked(loaded, Question.parse(question, options), turns, shown, options)
    used = Budget(budget.tokens, min(budget.frames, loaded.most_frames))
    sessions = sessions or [Session() for _ in clips]
    for session, clip in zip(sessions, clips, strict=True):
        session.begin(clip)
    work = _Work(clips, shown, model, sessions, threads, method)
    clock = Clock(progress)
    with torch.inference_mode(), one_kernel_thread():
        with clock.step("select"):
            each = [Clip(clip.frame_features, clip.seconds) for clip in clips]
            selections = model.select_several(each, shown, asked, used, method)
        with clock.step("encode patches"):
            patches, seen = zip(*(work.patches(k, s) for k, s in enumerate(selections)))
        with clock.step("sample and merge tokens"):
            visual = model.reduce_several(patches, shown, selections, asked, used, method, seen)
        with clock.step("answer"):
            said = loaded.generate(asked, visual, max_new_tokens)
            likely = likelihoods(asked, visual, said, loaded, Session())
    found = _Found(asked, visual, said, likely, [p.shape[1] for p in patches], clock.timings)
    called = names or [f"clip {k + 1}" for k in range(len(clips))]
    filled = loaded.methods(method)
    return _as_answer(
        work,
        found,
        called,
        settings_of(clips[0].asked_fps, budget, method.select_frames, max_new_tokens, method.given),
        settings_of(_rate(clips), used, filled["select_frames"], max_new_tokens, filled),
    )


def kinds_of(clips: Sequence[EncodedVideo]) -> list[ClipKind]:
    """What each clip is shown as, where nobody says: a still picture as a picture, all else as a video."""
    return ["image" if clip.info.still and len(clip) == 1 else "video" for clip in clips]


def check_several(
    loaded: VideoModel, kinds: Sequence[ClipKind], budget: Budget | None, methods: MethodNames
) -> "_SeveralModel":
    """The model, as one that reads these clips in one prompt; before the long work.

    Raises:
        ValueError: it cannot read them together, or the budget is below their number.
    """
    if not isinstance(loaded, ReadsSeveral):
        raise ValueError(one_a_prompt(f"{loaded.name!r}, a model of bvllm's own,", kinds))
    loaded.check_clips(kinds, methods)
    budget = budget or loaded.budget
    for name, value in (("tokens", budget.tokens), ("frames", min(budget.frames, loaded.most_frames))):
        if value < len(kinds):
            raise ValueError(
                f"budget.{name} must be at least one for each of {counted(kinds)}, got {value}: ask for "
                "more, or about fewer"
            )
    return loaded  # type: ignore[return-value]


@dataclass(frozen=True)
class _Work:
    """What is the same for all clips of one answer."""

    clips: Sequence[EncodedVideo]
    kinds: Sequence[ClipKind]
    model: "_SeveralModel"
    sessions: Sequence[Session]
    threads: int | None
    names: MethodNames

    def patches(self, number: int, selection: FrameSelection) -> tuple[Tensor, PatchSignals | None]:
        """(n, N, C) of a clip's chosen frames, and what methods go by."""
        clip, session = self.clips[number], self.sessions[number]
        needed = frames_needed(selection).tolist()
        if self.kinds[number] == "image":
            [patches] = session.patches.get_with(
                needed, lambda new: [(p,) for p in self.model.picture_features(clip.store.get(new))], PICTURES
            )
            return patches, None
        reading = reading_of(self.model.methods(self.names))
        found, seen = encoded_patches(needed, clip, self.model, session, self.threads, reading)
        return found, next(iter(seen), None)


class _Found(NamedTuple):
    """What an answer is made of.

    Attributes:
        asked, visual: what the language model was given.
        said: its free words.
        likely: how likely each option was.
        each: N of each clip's frames.
        timings: seconds per step.
    """

    asked: AskedQuestion
    visual: VisualTokens
    said: str
    likely: tuple[float, ...]
    each: list[int]
    timings: dict[str, float]


def _as_answer(
    work: _Work, found: _Found, called: Sequence[str], asked: QuestionSettings, used: QuestionSettings
) -> Answer:
    question, clips, visual = found.asked.question, work.clips, found.visual
    text, letter = likeliest(question.options, found.likely) or (found.said, None)
    rows = zip(called, work.kinds, clips, found.each, visual.selections, visual.lengths)
    return Answer(
        question=question.stem,
        options=question.options,
        text=text,
        free_text=found.said,
        letter=letter,
        likelihoods=found.likely,
        doubts=work.model.doubts(found.asked, torch.cat([clip.frame_features for clip in clips])),
        question_left_out=found.asked.left_out,
        subtitles=0,
        subtitles_left_out=0,
        frames=_chosen(clips, visual.selections),
        tokens=sum(visual.spent),
        patches_per_frame=max(found.each),
        frames_total=sum(map(len, clips)),
        timings={**_summed(clips), **found.timings},
        asked=asked,
        used=used,
        visual=visual,
        clips=tuple(ClipShare(name, kind, len(clip), n, len(s), k) for name, kind, clip, n, s, k in rows),
    )


def _asked(
    loaded: VideoModel,
    question: Question,
    turns: tuple[Turn, ...],
    kinds: tuple[ClipKind, ...],
    options: Sequence[str] | None,
) -> AskedQuestion:
    """The question in its conversation.

    Raises:
        ValueError: the conversation has other clips.
    """
    turns = turns or one_turn(kinds, question.written)
    if kinds_in(turns) != kinds:
        raise ValueError(
            f"turns must hold the {len(kinds)} clips in their order, got {len(kinds_in(turns))}: name each "
            "once"
        )
    if options:
        last = [part for part in turns[-1].parts if isinstance(part, str)][-1]
        turns = with_last_words(turns, Question.parse(last, options).written)
    return replace(loaded.read(question), turns=turns)


def _chosen(clips: Sequence[EncodedVideo], selections: Sequence[FrameSelection]) -> tuple[ChosenFrame, ...]:
    return tuple(
        ChosenFrame(frame, float(clip.seconds[frame]), score, number)
        for number, (clip, chosen) in enumerate(zip(clips, selections))
        for frame, score in zip(chosen.frames.tolist(), chosen.scores.tolist())
    )


def _rate(clips: Sequence[EncodedVideo]) -> float | None:
    """Frames a second of the videos; None where all frames were given."""
    return next((clip.used_fps for clip in clips if clip.used_fps is not None), None)


def _summed(clips: Sequence[EncodedVideo]) -> dict[str, float]:
    """What encoding took, step by step, of all clips together."""
    steps = dict.fromkeys(step for clip in clips for step in clip.timings)
    return {step: sum(clip.timings.get(step, 0.0) for clip in clips) for step in steps}
