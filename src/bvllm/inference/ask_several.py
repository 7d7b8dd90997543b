"""Encode the videos and pictures that a question names, and ask about them together."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bvllm.common.reply import ANSWER_TOKENS
from bvllm.common.text import Question
from bvllm.inference.answer import answer, check_arguments
from bvllm.inference.clip_sources import ClipSource
from bvllm.inference.encode import EncodedVideo, Progress, encode_video
from bvllm.inference.model import ReadsSeveral, VideoModel
from bvllm.inference.results import Answer
from bvllm.inference.several import answer_several, check_several, kinds_of
from bvllm.inference.turns import Turn
from bvllm.methods.names import MethodNames
from bvllm.model.backbones.several import ClipKind
from bvllm.types import Budget
from bvllm.video import Limits

PICTURE_NAMES = frozenset((".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".avif", ".heic"))


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
    max_new_tokens: int = ANSWER_TOKENS,
    threads: int | None = None,
    progress: Progress | None = None,
    methods: MethodNames | None = None,
) -> Answer:
    """One question about several videos and pictures: `encode_several`, then `answer_several`."""
    check_arguments(loaded, budget, max_new_tokens)
    if len(sources) == 1 and not isinstance(loaded, ReadsSeveral):
        return _ask_one(
            sources[0],
            question,
            loaded,
            fps=fps,
            limits=limits,
            turns=turns,
            budget=budget,
            options=options,
            max_new_tokens=max_new_tokens,
            threads=threads,
            progress=progress,
            methods=methods,
        )
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
    except BaseException:  # whatever it is goes on, and leaves no file of frames open
        for encoded in found:
            encoded.close()
        raise
    return found


def kinds_named(files: Sequence[str]) -> list[ClipKind]:
    """What files are likely to be shown as, by their names alone: before any is opened."""
    return ["image" if Path(file).suffix.lower() in PICTURE_NAMES else "video" for file in files]


def _ask_one(
    source: ClipSource,
    question: str | Question,
    loaded: VideoModel,
    *,
    fps: float,
    limits: Limits | None,
    turns: tuple[Turn, ...],
    threads: int | None,
    progress: Progress | None,
    **settings: Any,
) -> Answer:
    """One question about one clip, of a model that reads no more.

    Raises:
        ValueError: the conversation has further turns.
    """
    if len(turns) > 1:
        raise ValueError(
            f"a chat for {loaded.name!r} must be one turn, got {len(turns)}: it reads one question about one "
            "video, so ask the last alone"
        )
    encoded = encode_video(
        source.source, loaded, fps=fps, part=source.part, limits=limits, threads=threads, progress=progress
    )
    try:
        return answer(encoded, question, loaded, threads=threads, progress=progress, **settings)
    finally:
        encoded.close()
