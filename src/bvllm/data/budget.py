"""Draw a random token budget for every training step, so that one model serves any."""

import math
from dataclasses import dataclass

from bvllm.data.mixture import mix
from bvllm.stages.frame_grids import Grid

BUDGET = 4  # part of the key, so that budgets do not follow the order of the rows


@dataclass(frozen=True)
class RandomFrameTokens:
    """Draws how many tokens a frame may have, anew for every step; a Dynamic-VLM learns from it.

    All rows of a step share it, on every rank, since it follows from the step alone.

    Args:
        fewest: the least; the native grid's cells are the most.
        native: the tower's grid.
        seed: of the draws.
        by_side: draw the side of a square first, then a count up to the next square: the native grid comes as
            often as any other. False draws the count evenly, as the paper does.

    Source: Dynamic-VLM (arXiv 2412.09530), from the note; the draw by side is ours.

    Example:
        >>> draw = RandomFrameTokens(16, Grid(24, 24))
        >>> counts = [draw.at(step) for step in range(200)]
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

    def at(self, step: int) -> int:
        """Tokens of a frame at a step."""
        share = mix(self.seed, BUDGET, step) / 2**64
        if not self.by_side:
            return self.fewest + int(share * (self.native.cells - self.fewest + 1))
        most, least = min(self.native), math.isqrt(self.fewest)
        side, within = divmod(share * (most - least + 1), 1.0)
        if int(side) + least >= most:
            return self.native.cells
        low = max(self.fewest, (int(side) + least) ** 2)
        return low + int(within * ((int(side) + least + 1) ** 2 - low))


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
