"""Answer a question about several videos, and pictures beside them, in one prompt and on one budget.

a, b = encode_video("a.mp4", loaded), encode_video("b.mp4", loaded)
answer_several([a, b], "in which is it later?", loaded, sessions=(sessions := [Session(), Session()]))
answer_several([a, b], "which is brighter?", loaded, sessions=sessions)     # no frame is encoded twice
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

import torch
from torch import Tensor

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
from bvllm.inference.clip_sources import ClipSource
from bvllm.inference.encode import EncodedVideo, Progress, encode_video
from bvllm.inference.model import AskedQuestion, ReadsSeveral, VideoModel
from bvllm.inference.results import Answer, ChosenFrame, ClipShare
from bvllm.inference.session import Session
from bvllm.inference.turns import Turn, kinds_in, one_turn, with_last_words
from bvllm.methods.names import MethodNames, Slots, reading_of
from bvllm.model.backbones.several import ClipKind, counted, one_a_prompt
from bvllm.stages.patch_signals import PatchSignals
from bvllm.stages.pipeline import frames_needed
from bvllm.types import Budget, Clip, FrameSelection
from bvllm.video import Limits

if TYPE_CHECKING:

    class _SeveralModel(VideoModel, ReadsSeveral):
        """A model that does both."""


PICTURE_NAMES = frozenset((".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".avif", ".heic"))
PICTURES = "pictures"  # a session keeps a picture's patches apart from those of the same frame in a video


def encode_several(
    sources: Sequence[ClipSource],
    loaded: VideoModel,
    *,
    fps: float = 1.0,
    limits: Limits | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> list[EncodedVideo]:
    """Encode every video and picture; see `encode_video`.

    Raises:
        ValueError, VideoError: as for `encode_video`; a part named a picture holds more than one.
    """
    found: list[EncodedVideo] = []
    try:
        for source in sources:
            found.append(
                encode_video(
                    source.source,
                    loaded,
                    fps=fps,
                    part=source.part,
                    limits=limits,
                    threads=threads,
                    progress=progress,
                )
            )
            if source.kind == "image" and len(found[-1]) != 1:
                raise ValueError(
                    f"image must be one picture, got {len(found[-1])} in {source.name[:200]!r}: call it a "
                    "video"
                )
    except BaseException:
        for encoded in found:
            encoded.close()
        raise
    return found


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
    max_new_tokens: int = 48,
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
    names_of_methods = method_names("learned", methods, slots)
    shown = tuple(kinds or kinds_of(clips))
    model = check_several(loaded, shown, budget, names_of_methods)
    asked = _asked(loaded, Question.parse(question, options), turns, shown, options)
    sessions = sessions or [Session() for _ in clips]
    for session, clip in zip(sessions, clips, strict=True):
        session.begin(clip)
    work = _Work(clips, shown, model, sessions, threads, names_of_methods)
    budget, clock = budget or loaded.budget, Clock(progress)
    with torch.inference_mode(), one_kernel_thread():
        with clock.step("select"):
            each = [Clip(clip.frame_features, clip.seconds) for clip in clips]
            selections = model.select_several(each, shown, asked, budget, names_of_methods)
        with clock.step("encode patches"):
            patches, seen = zip(*(work.patches(k, s) for k, s in enumerate(selections)))
        with clock.step("sample and merge tokens"):
            visual = model.reduce_several(patches, shown, selections, asked, budget, names_of_methods, seen)
        with clock.step("answer"):
            said = loaded.generate(asked, visual, max_new_tokens)
            likely = likelihoods(asked, visual, said, loaded, Session())
    text, letter = likeliest(asked.question.options, likely) or (said, None)
    called = names or [f"clip {k + 1}" for k in range(len(clips))]
    filled = loaded.methods(names_of_methods)
    return Answer(
        question=asked.question.stem,
        options=asked.question.options,
        text=text,
        free_text=said,
        letter=letter,
        likelihoods=likely,
        doubts=(),
        question_left_out=asked.left_out,
        subtitles=0,
        subtitles_left_out=0,
        frames=_chosen(clips, selections),
        tokens=sum(visual.spent),
        patches_per_frame=max(p.shape[1] for p in patches),
        frames_total=sum(map(len, clips)),
        timings={**_summed(clips), **clock.timings},
        asked=settings_of(
            clips[0].asked_fps, budget, names_of_methods.select_frames, max_new_tokens, names_of_methods.given
        ),
        used=settings_of(_rate(clips), budget, filled["select_frames"], max_new_tokens, filled),
        visual=visual,
        clips=tuple(
            ClipShare(called[k], shown[k], len(clip), p.shape[1], len(s), visual.lengths[k])
            for k, (clip, p, s) in enumerate(zip(clips, patches, selections))
        ),
    )


def ask_several(
    sources: Sequence[ClipSource],
    question: str | Question,
    loaded: VideoModel,
    *,
    fps: float = 1.0,
    limits: Limits | None = None,
    turns: tuple[Turn, ...] = (),
    budget: Budget | None = None,
    options: Sequence[str] | None = None,
    max_new_tokens: int = 48,
    threads: int | None = None,
    progress: Progress | None = None,
    methods: MethodNames | None = None,
) -> Answer:
    """One question about several videos and pictures: `encode_several`, then `answer_several`."""
    check_arguments(loaded, budget, max_new_tokens)
    named = [source.kind or kinds_named([source.name])[0] for source in sources]
    check_several(loaded, named, budget, methods or MethodNames())
    Question.parse(question, options)
    clips = encode_several(sources, loaded, fps=fps, limits=limits, threads=threads, progress=progress)
    try:
        return answer_several(
            clips,
            question,
            loaded,
            kinds=[s.kind or kind for s, kind in zip(sources, kinds_of(clips))],
            names=[source.name for source in sources],
            turns=turns,
            budget=budget,
            options=options,
            max_new_tokens=max_new_tokens,
            threads=threads,
            progress=progress,
            methods=methods,
        )
    finally:
        for clip in clips:
            clip.close()


def kinds_of(clips: Sequence[EncodedVideo]) -> list[ClipKind]:
    """What each clip is shown as, where nobody says: a still picture as a picture, all else as a video."""
    return ["image" if clip.info.still and len(clip) == 1 else "video" for clip in clips]


def kinds_named(files: Sequence[str]) -> list[ClipKind]:
    """What files are likely to be shown as, by their names alone: before any is opened."""
    return ["image" if Path(file).suffix.lower() in PICTURE_NAMES else "video" for file in files]


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
    budget = budget or loaded.budget  # type: ignore[attr-defined]  # it is a VideoModel, too
    for name, value in (("tokens", budget.tokens), ("frames", budget.frames)):
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
