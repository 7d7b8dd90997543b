"""Compute means with intervals over both chances: the questions asked and the training seeds."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DRAWS = 4000
LOW, HIGH = 2.5, 97.5
# What a difference says of an order that was expected, by its sign; None where nothing was measured.
AGREEMENT = {1: "agrees", 0: "not told apart", -1: "**the other way round**", None: "not measured"}
NOTHING = "\u2014"  # the cell of what nothing was measured of


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

    Raises:
        ValueError: there is no block, or one has no values; see `estimate_if_any`.

    Source: Owen, The pigeonhole bootstrap (Annals of Applied Statistics, 2007).

    Example:
        >>> estimate([np.array([[1.0, 1.0], [1.0, 1.0]])])
        Estimate(mean=1.0, low=1.0, high=1.0)
    """
    if not blocks or not all(block.size for block in blocks):
        shapes = [block.shape for block in blocks]
        raise ValueError(f"blocks must hold values, got shapes {shapes}: leave out what was not asked")
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


def estimate_if_any(blocks: list[NDArray[np.float64]]) -> Estimate | None:
    """`estimate`; None where a block holds nothing, as at a small scale that asks no question of a kind."""
    return estimate(blocks) if blocks and all(block.size for block in blocks) else None


def percent(value: Estimate | None) -> str:
    """A share and its interval in per cent.

    Example:
        >>> percent(Estimate(0.5, 0.25, 0.75)), percent(None)
        ('50.0 (25-75)', '\u2014')
    """
    if value is None:
        return NOTHING
    return f"{100 * value.mean:.1f} ({100 * value.low:.0f}-{100 * value.high:.0f})"


def points(value: Estimate | None) -> str:
    """A difference of shares and its interval in points.

    Example:
        >>> points(Estimate(0.5, -0.25, 0.75))
        '+50.0 (-25.0 to +75.0)'
    """
    if value is None:
        return NOTHING
    return f"{100 * value.mean:+.1f} ({100 * value.low:+.1f} to {100 * value.high:+.1f})"
