"""Draw a random token budget for every training step, so that one model serves any."""

import math
from dataclasses import dataclass

from bvllm.data.mixture import mix

BUDGET = 4  # part of the key, so that budgets do not follow the order of the rows


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
