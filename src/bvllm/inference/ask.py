"""Ask a video a question.

loaded = load_model("nano")
video = encode_video("video.mp4", loaded)         # pass 1: every frame, once
session = Session()                                # what a question leaves behind for the next
answer(video, "what colour is the star?", loaded, session=session)  # pass 2: the few frames that matter
answer(video, "how many circles are shown?", loaded, session=session)
"""

from collections.abc import Sequence
from typing import Any, Unpack, cast

from bvllm.common.reply import ANSWER_TOKENS
from bvllm.common.text import Question
from bvllm.inference.answer import answer, check_arguments, method_names
from bvllm.inference.ask_several import ask_several, encode_several
from bvllm.inference.auto_budget import AutoBudget, answer_auto
from bvllm.inference.beside import Subtitles, cues_of
from bvllm.inference.clip_sources import clips_in, read_chat
from bvllm.inference.encode import EncodedVideo, Progress, encode_video
from bvllm.inference.loading import LoadedModel, ModelError, load_model
from bvllm.inference.model import VideoModel
from bvllm.inference.results import Answer, ChosenFrame, QuestionSettings
from bvllm.inference.session import Session
from bvllm.inference.several import answer_several
from bvllm.methods.names import MethodNames, Slots
from bvllm.types import Budget
from bvllm.video import Limits
from bvllm.video.forms import AnySource

__all__ = [
    "Answer",
    "AutoBudget",
    "ChosenFrame",
    "EncodedVideo",
    "LoadedModel",
    "ModelError",
    "Progress",
    "QuestionSettings",
    "Session",
    "VideoModel",
    "answer",
    "answer_auto",
    "answer_several",
    "ask",
    "chat",
    "encode_several",
    "encode_video",
    "load_model",
]


def ask(
    source: AnySource | Sequence[Any],
    question: str | Question,
    loaded: VideoModel,
    *,
    fps: float = 1.0,
    start: float = 0.0,
    end: float | None = None,
    limits: Limits | None = None,
    budget: Budget | AutoBudget | None = None,
    options: Sequence[str] | None = None,
    select: str = "learned",
    subtitles: Subtitles | None = None,
    max_new_tokens: int = ANSWER_TOKENS,
    threads: int | None = None,
    progress: Progress | None = None,
    methods: MethodNames | None = None,
    **slots: Unpack[Slots],
) -> Answer:
    """One question about one video: `encode_video`, then `answer`; arguments and errors are theirs.

    With an `AutoBudget` the budget follows from the question; see `answer_auto`. A source may name several
    clips, as `["a.mp4", "b.mp4"]` or `[{"type": "video", "path": ...}, {"type": "image", "path": ...}]`:
    see `answer_several`.

    Nothing is left on disk. `indexed_video` in the place of `encode_video` keeps what was seen for the next
    time.
    """
    # What is wrong with the question or a method is raised before the long work.
    check_arguments(loaded, None if isinstance(budget, AutoBudget) else budget, max_new_tokens)
    parsed, names = Question.parse(question, options), method_names(select, methods, slots)
    clips = clips_in(source)
    if clips is not None:
        _check_for_several(start, end, budget, subtitles)
        assert not isinstance(budget, AutoBudget)  # refused
        return ask_several(
            clips,
            parsed,
            loaded,
            fps=fps,
            limits=limits,
            budget=budget,
            max_new_tokens=max_new_tokens,
            threads=threads,
            progress=progress,
            methods=names,
        )
    cues = cues_of(subtitles)
    loaded.methods(names)
    encoded = encode_video(
        cast(AnySource, source),
        loaded,
        fps=fps,
        start=start,
        end=end,
        limits=limits,
        threads=threads,
        progress=progress,
    )
    try:
        settings: Any = {
            "methods": names,
            "subtitles": cues,
            "max_new_tokens": max_new_tokens,
            "threads": threads,
            "progress": progress,
        }
        if isinstance(budget, AutoBudget):
            return answer_auto(encoded, parsed, loaded, budget, **settings)
        return answer(encoded, parsed, loaded, budget=budget, **settings)
    finally:
        encoded.close()


def chat(
    messages: Sequence[dict[str, object]],
    loaded: VideoModel,
    *,
    fps: float = 1.0,
    limits: Limits | None = None,
    budget: Budget | None = None,
    options: Sequence[str] | None = None,
    max_new_tokens: int = ANSWER_TOKENS,
    threads: int | None = None,
    progress: Progress | None = None,
    methods: MethodNames | None = None,
    **slots: Unpack[Slots],
) -> Answer:
    """Answer the last turn of a chat whose parts are texts, videos and pictures, in the order they stand.

    What was said before is part of the prompt; frames are chosen by the last question.

    Args:
        messages: as transformers' `apply_chat_template` takes them; a part names its source as "path", "url",
            "video" or "image", and of a video "start" and "end" name the part that is meant.
        loaded: a model that reads several clips (`bvllm models`).
        budget: of all clips together.
        fps, limits, options, max_new_tokens, threads, progress, methods, slots: as for `ask`.

    Raises:
        ValueError, VideoError: as for `ask`; the chat does not end with a question, or shows nothing.
    """
    found = read_chat(messages)
    if not found.clips:
        raise ValueError("a chat must show a video or a picture, got text alone: add a part of type video")
    return ask_several(
        found.clips,
        found.question,
        loaded,
        fps=fps,
        limits=limits,
        turns=found.turns,
        budget=budget,
        options=options,
        max_new_tokens=max_new_tokens,
        threads=threads,
        progress=progress,
        methods=method_names("learned", methods, slots),
    )


def _check_for_several(
    start: float, end: float | None, budget: Budget | AutoBudget | None, subtitles: Subtitles | None
) -> None:
    """Refuse what belongs to one video.

    Raises:
        ValueError: it is there.
    """
    for name, given, hint in (
        (
            "start and end",
            start or end is not None,
            "name the part with each video, as {'start': 3, 'end': 9}",
        ),
        (
            "subtitles",
            subtitles is not None,
            "name them with their video, as {'subtitles': 'a.srt'}, in a chat",
        ),
        ("budget", isinstance(budget, AutoBudget), "give a number of tokens"),
    ):
        if given:
            raise ValueError(f"{name} must be left out for several videos, got it: {hint}")
