"""Group the scores of frames into a few moments: neighbours that show the same thing are one."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# A frame this close to a better one of its video belongs to that one's moment.
NEAR_SECONDS = 5.0


@dataclass(frozen=True)
class Moment:
    """A place in a video.

    Attributes:
        video: its number in the list that was searched.
        frame: the best frame's number in the sampled sequence.
        seconds: when that is.
        score: of that frame; larger is more like the query.
    """

    video: int
    frame: int
    seconds: float
    score: float


def best_moments(
    scores: Sequence[NDArray[np.float32]],
    seconds: Sequence[NDArray[np.float64]],
    top: int,
    near_seconds: float = NEAR_SECONDS,
) -> tuple[Moment, ...]:
    """The best frames of all videos, best first, none within `near_seconds` of a better one.

    Args:
        scores: (T_i,) of each video.
        seconds: (T_i,) ascending, of each video.
        top: how many moments at most.
        near_seconds: how far a moment reaches on either side.

    Raises:
        ValueError: `top` is below 1.

    Example:
        >>> rows = [np.array([0.1, 0.9, 0.8, 0.3], dtype=np.float32)]
        >>> [(m.seconds, round(m.score, 2)) for m in best_moments(rows, [np.arange(4.0)], 2, near_seconds=1)]
        [(1.0, 0.9), (3.0, 0.3)]
    """
    check_top(top)
    if not scores or not sum(map(len, scores)):
        return ()
    starts = np.cumsum([0, *map(len, scores)])
    left = np.concatenate(scores)  # a copy: what was found is struck out
    found: list[Moment] = []
    while len(found) < top:
        place = int(left.argmax())  # of equals the first: the same moments every time
        if left[place] == -np.inf:
            break
        video = int(np.searchsorted(starts, place, side="right")) - 1
        frame, times = place - int(starts[video]), seconds[video]
        found.append(Moment(video, frame, float(times[frame]), float(left[place])))
        begin, end = np.searchsorted(times, [times[frame] - near_seconds, times[frame] + near_seconds])
        end += end < len(times) and times[end] <= times[frame] + near_seconds
        left[starts[video] + begin : starts[video] + end] = -np.inf
    return tuple(found)


def check_top(top: int) -> None:
    """Refuse a number of moments below 1.

    Raises:
        ValueError: `top` is below 1.
    """
    if top < 1:
        raise ValueError(f"top must be at least 1, got {top}: ask for some moments")
