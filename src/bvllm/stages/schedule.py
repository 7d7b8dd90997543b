"""Share a budget out among the layers of a language model: how many visual tokens each of them sees."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor

from bvllm.types import MethodRefused

# A layer (counted from 0) before which tokens go, and the share of all visual tokens that is left from there.
Cut = tuple[int, float]


@dataclass(frozen=True)
class Schedule:
    """How many visual tokens every layer sees.

    Attributes:
        counts: one for each layer; they never rise.

    Raises:
        ValueError: there is no layer, a count is negative, or counts rise.

    Example:
        >>> schedule = Schedule((8, 8, 4, 4))
        >>> schedule.mean, schedule.cuts
        (6.0, (2,))
    """

    counts: tuple[int, ...]

    def __post_init__(self) -> None:
        falls = all(first >= then for first, then in zip(self.counts, self.counts[1:]))
        if not self.counts or min(self.counts) < 0 or not falls:
            raise ValueError(
                f"counts must be one for each layer, and never rise, got {self.counts}: tokens that are gone "
                "do not come back"
            )

    @property
    def mean(self) -> float:
        """Visual tokens over the layers: what a budget is compared with."""
        return sum(self.counts) / len(self.counts)

    @property
    def cuts(self) -> tuple[int, ...]:
        """The layers before which tokens go."""
        return tuple(k for k in range(1, len(self.counts)) if self.counts[k] < self.counts[k - 1])


@dataclass(frozen=True)
class Shape:
    """How the number of visual tokens falls over the layers of a model, as shares.

    Attributes:
        shares: of each layer; 1 at first.

    Example:
        >>> Shape.of(((2, 0.5),), depth=4, layers=4).schedule(8, 6)
        Schedule(counts=(8, 8, 4, 4))
    """

    shares: tuple[float, ...]

    @classmethod
    def of(cls, cuts: Sequence[Cut], depth: int, layers: int, first: int = 1) -> "Shape":
        """The shape that was published for a model of `depth` layers, at the same heights of another.

        Args:
            cuts: what is left from which layer on, in the published model.
            depth: layers of that model.
            layers: of this one.
            first: the earliest layer before which tokens may go; the first layer always sees all.

        Raises:
            MethodRefused: the model has too few layers to drop anything before one of them.
        """
        if layers <= first:
            raise MethodRefused(
                f"language model must have more than {first} layers for tokens to go inside it, got "
                f"{layers}: reduce them before it, with merge_tokens"
            )
        shares = [1.0] * layers
        for cut, share in cuts:
            here = min(max(first, scaled(cut, depth, layers)), layers - 1)
            shares[here:] = [min(share, old) for old in shares[here:]]
        return cls(tuple(shares))

    @property
    def mean(self) -> float:
        return sum(self.shares) / len(self.shares)

    def entering(self, budget: int) -> int:
        """The most tokens that may enter: pruned as published, their mean over the layers is `budget`."""
        most = max(budget, floor(budget / self.mean))
        while self.mean < 1 and self._counts(most + 1, 1.0, budget) is not None:  # whole tokens, rounded down
            most += 1
        while most > budget and self._counts(most, self._strength(most, budget), budget) is None:
            most -= 1
        return most

    def schedule(self, tokens: int, budget: int) -> Schedule:
        """Counts whose mean is at most `budget`, and as near it as whole tokens allow.

        Where fewer tokens enter than the published shape leaves room for, less is pruned, at every layer in
        the same proportion; where they fit the budget as they are, nothing is.

        Args:
            tokens: that enter.
            budget: mean over the layers.

        Raises:
            ValueError: more enter than the published shape brings down to the budget.

        Example:
            >>> Shape((1.0, 0.5)).schedule(8, 7).counts, Shape((1.0, 0.5)).schedule(5, 7).counts
            ((8, 6), (5, 5))
        """
        if tokens <= budget:
            return Schedule((tokens,) * len(self.shares))
        counts = None
        if tokens <= self.entering(budget):
            counts = self._counts(tokens, self._strength(tokens, budget), budget)
        if counts is None:
            raise ValueError(
                f"tokens must be at most {self.entering(budget)} for a mean of {budget} over "
                f"{len(self.shares)} layers, got {tokens}: raise the budget, or reduce them before the "
                "language model"
            )
        return Schedule(counts)

    def _strength(self, tokens: int, budget: int) -> float:
        """How much of the published pruning is needed: 0 is none, 1 all of it."""
        return min(1.0, (1 - budget / tokens) / (1 - self.mean))

    def _counts(self, tokens: int, strength: float, budget: int) -> tuple[int, ...] | None:
        """Whole tokens of each layer; None where they do not fit, since a layer keeps one at least."""
        counts = [
            max(1 if share > 0 else 0, floor(tokens * (1 - strength * (1 - share)) + 1e-9))
            for share in self.shares
        ]
        room = budget * len(counts) - sum(counts)
        if room < 0:
            return None
        starts = [k for k in range(1, len(counts)) if counts[k] < counts[k - 1]]
        for start, end in zip(starts, [*starts[1:], len(counts)]):
            if counts[start] and end - start <= room:  # what rounding left over
                counts[start:end] = [count + 1 for count in counts[start:end]]
                room -= end - start
        return tuple(counts)


def scaled(layer: int, depth: int, layers: int) -> int:
    """The layer at the same height of a model that has another number of them.

    Example:
        >>> scaled(16, 32, 28), scaled(2, 32, 28)
        (14, 2)
    """
    return round(layer * layers / depth)
