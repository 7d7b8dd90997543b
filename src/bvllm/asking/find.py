"""Rank the frames of indexed videos by a query: by words in the frames' space, else by the selector."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from bvllm.asking.query import QueryEncoder, UnknownWords, unknown_words
from bvllm.common.text import Question
from bvllm.common.threads import one_kernel_thread
from bvllm.index import IndexedVideo
from bvllm.index.search.moments import NEAR_SECONDS, Moment, best_moments, check_top
from bvllm.index.search.scores import all_cosines
from bvllm.inference.loading import ModelError
from bvllm.inference.model import VideoModel
from bvllm.methods.names import OWN
from bvllm.types import Budget

How = Literal["words", "selector"]
MANY_QUERIES = 1 << 20  # all that a selector has: every one may have something to say of a frame


@dataclass(frozen=True)
class SearchResult:
    """What a search gave.

    Attributes:
        moments: best first.
        how: "words" compares the query with each frame, in [-1, 1]; "selector" asks the frame selector, whose
            numbers have no fixed range and were made to choose within one video.
        unknown: words of the query that mean nothing to the model.
        frames: how many were searched.
    """

    moments: tuple[Moment, ...]
    how: How
    unknown: tuple[str, ...]
    frames: int


def find_moments(
    videos: Sequence[IndexedVideo],
    query: str,
    loaded: VideoModel,
    words: QueryEncoder | None,
    *,
    top: int = 10,
    near_seconds: float = NEAR_SECONDS,
) -> SearchResult:
    """The moments of some videos that are most like a query: every frame is compared, exactly.

    Args:
        videos: entries of the index, made with this model.
        query: what is to be seen.
        loaded: the model.
        words: its text side; None ranks by the frame selector.
        top: moments at most.
        near_seconds: neighbours that close are one moment.

    Raises:
        UnknownWords: no word of the query means anything to the model.
        ValueError: the query is empty or `top` below 1.
        ModelError: the model has neither words nor a selector that reads questions.
    """
    if not query.strip():
        raise ValueError(f"query must hold words, got {query!r}: write what is to be seen")
    check_top(top)
    frames = sum(map(len, videos))
    how: How = "selector" if words is None else "words"
    if words is not None:
        unknown = unknown_words(query, lambda word: bool(words.known(word)))
        vector = words([query])[0].detach()
        if not bool(vector.any()):
            raise UnknownWords(
                f"query must hold a word that shows in pictures, got {query!r}: say what is to be seen"
            )
        scores = all_cosines([video.features for video in videos], vector)
    else:
        unknown = unknown_words(query, loaded.knows_word)
        scores = _selector_scores(videos, query, loaded)
    moments = best_moments(scores, [video.seconds.numpy() for video in videos], top, near_seconds)
    return SearchResult(moments, how, unknown, frames)


def _selector_scores(
    videos: Sequence[IndexedVideo], query: str, loaded: VideoModel
) -> list[NDArray[np.float32]]:
    """How much any query of the selector wants each frame, before the softmax: comparable across videos."""
    if not loaded.reads_question:
        raise ModelError(
            f"model {loaded.name!r} cannot search: it has no word tower, and its frame selector reads no "
            "question"
        )
    asked, everyone = loaded.read(Question(query)), Budget(frames=MANY_QUERIES)
    found = []
    with torch.inference_mode(), one_kernel_thread():
        for video in videos:
            selection = loaded.select(video.features, video.seconds, asked, everyone, OWN)
            found.append(selection.logits.float().amax(dim=0).cpu().numpy())
    return found
