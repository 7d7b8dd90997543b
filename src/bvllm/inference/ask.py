"""Ask a video a question.

loaded = load_model("nano")
video = encode_video("video.mp4", loaded)         # pass 1: every frame, once
session = Session()                                # what a question leaves behind for the next
answer(video, "what colour is the star?", loaded, session=session)  # pass 2: the few frames that matter
answer(video, "how many circles are shown?", loaded, session=session)
"""

from collections.abc import Sequence
from typing import Any, Unpack

from bvllm.common.text import Question
from bvllm.inference.answer import answer, check_arguments, method_names
from bvllm.inference.auto_budget import AutoBudget, answer_auto
from bvllm.inference.beside import Subtitles, cues_of
from bvllm.inference.encode import EncodedVideo, Progress, encode_video
from bvllm.inference.loading import LoadedModel, ModelError, load_model
from bvllm.inference.model import VideoModel
from bvllm.inference.results import Answer, ChosenFrame, QuestionSettings
from bvllm.inference.session import Session
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
    "ask",
    "encode_video",
    "load_model",
]


def ask(
    source: AnySource,
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
    max_new_tokens: int = 48,
    threads: int | None = None,
    progress: Progress | None = None,
    methods: MethodNames | None = None,
    **slots: Unpack[Slots],
) -> Answer:
    """One question about one video: `encode_video`, then `answer`; arguments and errors are theirs.

    With an `AutoBudget` the budget follows from the question; see `answer_auto`.

    Nothing is left on disk. `indexed_video` in the place of `encode_video` keeps what was seen for the next
    time.
    """
    # What is wrong with the question or a method is raised before the long work.
    check_arguments(loaded, None if isinstance(budget, AutoBudget) else budget, max_new_tokens)
    parsed, names = Question.parse(question, options), method_names(select, methods, slots)
    cues = cues_of(subtitles)
    loaded.methods(names)
    encoded = encode_video(
        source, loaded, fps=fps, start=start, end=end, limits=limits, threads=threads, progress=progress
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
