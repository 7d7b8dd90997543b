"""Draw a random token budget for every training step, so that one model serves any."""

import math
from dataclasses import dataclass

from bvllm.data.mixture import mix
from bvllm.stages.frame_grids import Grid

BUDGET = 4  # part of the key, so that budgets do not follow the order of the rows


@dataclass(frozen=True)
class FrameShare:
    """One draw of how many tokens a frame may have: a place in a range that each row has of its own.

    Attributes:
        share: in [0, 1); where in the range, the same for all rows of a step.
        fewest: the lower end, unless a row has not even that for its frames.
        native: the tower's grid; its cells are the upper end, unless a row has less for its frames.
        by_side: see `RandomFrameTokens`.

    Example:
        >>> half = FrameShare(0.5, 16, Grid(24, 24), by_side=False)
        >>> half.of(576), half.of(46), half.of(9)
        (296, 31, 9)
    """

    share: float
    fewest: int
    native: Grid
    by_side: bool = True

    def of(self, most: int) -> int:
        """Tokens of a frame in a row whose frames may have `most` each."""
        most = max(1, min(most, self.native.cells))
        least = min(self.fewest, most)
        if not self.by_side:
            return least + int(self.share * (most - least + 1))
        low, high = math.isqrt(least), min(math.isqrt(most), min(self.native))
        low = min(low, high)
        side, within = divmod(self.share * (high - low + 1), 1.0)
        side = int(side) + low
        if side >= high and most == self.native.cells:
            return most
        start, end = max(least, side * side), most if side >= high else (side + 1) ** 2 - 1
        return start + int(within * (end - start + 1))


@dataclass(frozen=True)
class RandomFrameTokens:
    """Draws how many tokens a frame may have, anew for every step; a Dynamic-VLM learns from it.

    What is drawn is a place in the range from `fewest` to what a row's frames may have, min(N_max / T, N):
    the place follows from the step alone, so that every rank has the same, the range from the row. A count
    that was drawn below N and cut to N_max / T afterwards would be that bound in nearly all steps of long
    videos.

    Args:
        fewest: the least; the native grid's cells are the most.
        native: the tower's grid.
        seed: of the draws.
        by_side: draw the side of a square first, then a count up to the next square: the native grid comes as
            often as any other. False draws the count evenly, as the paper does.

    Source: Dynamic-VLM (arXiv 2412.09530), from the note; the draw by side is ours.

    Example:
        >>> draw = RandomFrameTokens(16, Grid(24, 24))
        >>> counts = [draw.at(step).of(576) for step in range(200)]
        >>> min(counts) >= 16, max(counts), counts.count(576) > 2
        (True, 576, True)
    """

    fewest: int
    native: Grid
    seed: int = 0
    by_side: bool = True

    def __post_init__(self) -> None:
        if not 1 <= self.fewest <= self.native.cells:
            raise ValueError(
                f"fewest must lie in 1..{self.native.cells}, the tower's patches, got {self.fewest}: lower it"
            )

    def at(self, step: int) -> FrameShare:
        """The draw of a step."""
        return FrameShare(mix(self.seed, BUDGET, step) / 2**64, self.fewest, self.native, self.by_side)


@dataclass(frozen=True)
class RandomBudget:
    """Draws the most visual tokens per clip, anew for every step.

    All rows of a step share it, on every rank, since it follows from the step alone. Log-uniform: halving the
    budget matters as much at 64 tokens as at 512.

    Args:
        fewest, most: the range, both included.
        seed: of the draws.

    Source: Dynamic-VLM (arXiv 2412.09530) trains with a varying compression; the distribution is ours.

    Example:
        >>> budget = RandomBudget(64, 512)
        >>> budget.at(3) == budget.at(3), all(64 <= budget.at(k) <= 512 for k in range(100))
        (True, True)
    """

    fewest: int
    most: int
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.fewest <= self.most:
            raise ValueError(
                f"fewest must be in 1..most, got {self.fewest} and {self.most}: the range is fewest..most"
            )

    def at(self, step: int) -> int:
        """The budget of a step; its rows carry it to the model as `video_budget`."""
        share = mix(self.seed, BUDGET, step) / 2**64
        low, high = math.log(self.fewest), math.log(self.most + 1)
        return min(self.most, math.floor(math.exp(low + share * (high - low))))
