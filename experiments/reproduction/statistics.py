"""Compute means with intervals over both chances: the questions asked and the training seeds."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DRAWS = 4000
LOW, HIGH = 2.5, 97.5


@dataclass(frozen=True)
class Estimate:
    """A mean and its 95 % interval."""

    mean: float
    low: float
    high: float

    @property
    def sign(self) -> int:
        """1 or -1 where the interval leaves out zero, else 0."""
        return (self.low > 0) - (self.high < 0)


def estimate(blocks: list[NDArray[np.float64]]) -> Estimate:
    """Mean of the blocks' means, by the bootstrap over seeds and questions, each drawn again by itself.

    Seeds are crossed with questions: every seed answers the same ones. With one seed the interval knows the
    questions only, and says nothing of another training.

    Args:
        blocks: for each duration (seeds, questions) values; seeds in the same order in all. For a difference
            give differences, question by question.

    Source: Owen, The pigeonhole bootstrap (Annals of Applied Statistics, 2007).

    Example:
        >>> estimate([np.array([[1.0, 1.0], [1.0, 1.0]])])
        Estimate(mean=1.0, low=1.0, high=1.0)
    """
    rng = np.random.default_rng(2412)
    seeds = len(blocks[0])
    weights = rng.multinomial(seeds, [1 / seeds] * seeds, DRAWS) / seeds
    total = np.zeros(DRAWS)
    for block in blocks:
        count = block.shape[1]
        asked = rng.multinomial(count, [1 / count] * count, DRAWS) / count
        total += np.einsum("ds,sq,dq->d", weights, block, asked, optimize=True)
    low, high = np.percentile(total / len(blocks), [LOW, HIGH])
    return Estimate(float(np.mean([b.mean() for b in blocks])), float(low), float(high))
