"""Search with a vector library: it proposes frames, exact cosines decide."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bvllm.common.threads import one_kernel_thread
from bvllm.index import IndexedVideo
from bvllm.index.search.moments import Moment, best_moments
from bvllm.index.search.scores import all_cosines, cosines
from bvllm.index.search.shelf import OpenLibrary

# Frames that a library proposes at first, and for each moment at least.
PROPOSED, PROPOSED_PER_MOMENT = 4096, 64
# Where those do not suffice, so many times more; and rather all frames than a larger part of them than this.
MORE, MOST_SHARE = 4, 0.25

Place = tuple[int, NDArray[np.int64]]  # a video's number, and some of its frames, ascending


def library_moments(
    library: OpenLibrary, videos: Sequence[IndexedVideo], query: Tensor, top: int, near_seconds: float
) -> tuple[Moment, ...] | None:
    """What `best_moments` makes of all frames, from those that a library proposes.

    Frames of videos that the library does not cover are all looked at; what it covers and nobody asks for is
    passed over. Moments count only where they are no worse than the median of the proposed frames: a library
    may be wrong about which frames it proposes last, and half of them are the margin for that.

    Args:
        library: whose entries may be others than the videos, in part.
        videos, top, near_seconds: as for `find_moments`.
        query: (C,).

    Returns:
        The moments; None where the library cannot tell, and all frames must be looked at.

    Raises:
        ValueError: the widths differ, or `top` is below 1.
    """
    covered, others = _covered(library, videos)
    exact = [(video, np.arange(len(videos[video]))) for video in others]
    exact_scores = all_cosines([videos[video].features for video in others], query)
    unit = (query.float() / query.float().norm()).numpy()
    rows, count = library.header.rows, max(PROPOSED, PROPOSED_PER_MOMENT * top)
    while True:
        named = library.built.nearest(unit, min(count, rows))
        proposed = _places(library, covered, named)
        scores = _scores(videos, proposed, query)
        found = _moments(videos, [*exact, *proposed], [*exact_scores, *scores], top, near_seconds)
        if len(named) == rows:  # not `count`: a library may give fewer than it was asked for
            return found
        if len(found) == top and scores and found[-1].score >= np.median(np.concatenate(scores)):
            return found
        count *= MORE
        if count > MOST_SHARE * rows:
            return None


def _covered(library: OpenLibrary, videos: Sequence[IndexedVideo]) -> tuple[dict[str, list[int]], list[int]]:
    """The numbers of the videos of each covered entry (copies of a file share one), and of all others."""
    covered: dict[str, list[int]] = {}
    others = []
    for number, video in enumerate(videos):
        if library.header.frames.get(video.key.name) == len(video):
            covered.setdefault(video.key.name, []).append(number)
        else:
            others.append(number)
    return covered, others


def _places(library: OpenLibrary, covered: dict[str, list[int]], rows: NDArray[np.int64]) -> list[Place]:
    """Where a library's rows lie in the videos."""
    names = list(library.header.frames)
    starts = np.cumsum([0, *library.header.frames.values()])
    rows = np.sort(rows)
    entries = np.searchsorted(starts, rows, side="right") - 1
    found = []
    for entry in np.unique(entries).tolist():
        begin, end = np.searchsorted(entries, [entry, entry + 1])
        found += [(video, rows[begin:end] - starts[entry]) for video in covered.get(names[entry], ())]
    return found


def _scores(
    videos: Sequence[IndexedVideo], places: Sequence[Place], query: Tensor
) -> list[NDArray[np.float32]]:
    """The exact cosines of some frames."""
    if not places:
        return []
    with one_kernel_thread():
        rows = torch.cat([videos[video].features[torch.from_numpy(frames)] for video, frames in places])
    return np.split(cosines(rows, query), np.cumsum([len(frames) for _, frames in places])[:-1])


def _moments(
    videos: Sequence[IndexedVideo],
    places: Iterable[Place],
    scores: Iterable[NDArray[np.float32]],
    top: int,
    near_seconds: float,
) -> tuple[Moment, ...]:
    """`best_moments` of some frames, with the numbers that videos and frames have among all."""
    looked = sorted(zip(places, scores), key=lambda pair: pair[0][0])  # of equals the first video wins
    seconds = [videos[video].seconds.numpy()[frames] for (video, frames), _ in looked]
    found = best_moments([score for _, score in looked], seconds, top, near_seconds)
    return tuple(
        replace(moment, video=looked[moment.video][0][0], frame=int(looked[moment.video][0][1][moment.frame]))
        for moment in found
    )
