"""Mix sets of rows in one endless order that is a pure function of the position.

`shuffled` shuffles without a list: where one place of a permutation goes is worked out from a key.
"""

import math
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, count
from typing import Protocol

from bvllm.data.dialogue import Dialogue
from bvllm.data.faults import InvalidRow

ORDER, ROWS, STAND_IN = 1, 2, 3  # what a shuffle is for: part of its key
MASK = (1 << 64) - 1
ROUNDS = 8
FEWEST_HALF_BITS = 3  # with smaller halves few of the permutations could come up


class Rows(Protocol):
    """Anything that gives rows by number and raises InvalidRow for a bad one: `RowFile`, `TarRows`."""

    def __len__(self) -> int: ...

    def __getitem__(self, row: int) -> Dialogue: ...


@dataclass(frozen=True)
class RowSet:
    """One set of a mixture.

    Attributes:
        name: for states and messages.
        rows: the set.
        weight: its share of an epoch, against the other parts' weights; None, for all parts, takes each row
            once per epoch.
    """

    name: str
    rows: Rows
    weight: float | None = None


@dataclass(frozen=True)
class Pick:
    """Which row stands at a position."""

    part: int
    row: int


class Mixture:
    """Parts by weight, shuffled; position p is computed without any other.

    An epoch holds the same number of rows of each part, in another order every time. A part gives all its
    rows before it gives one again, also across epochs.

    Args:
        parts: sets with their weights.
        seed: of the order.
        rows_per_epoch: as many as all parts together where None.
        shuffle: False keeps parts and rows in the order given.

    Raises:
        ValueError: weights that are not positive, given for some parts only, or too small for a row an epoch.

    Example:
        >>> small, large = RowSet("small", range(2), 1.0), RowSet("large", range(100, 130), 3.0)
        >>> order = Mixture([small, large], rows_per_epoch=8)
        >>> sorted(order[k] for k in range(8) if order.pick(k).part == 0), len(order)
        ([0, 1], 8)
    """

    def __init__(
        self, parts: list[RowSet], seed: int = 0, rows_per_epoch: int | None = None, *, shuffle: bool = True
    ) -> None:
        self.parts, self.seed, self.shuffle = tuple(parts), seed, shuffle
        weights = _weights(self.parts)
        total = sum(len(part.rows) for part in parts) if rows_per_epoch is None else rows_per_epoch
        self.counts = _shares(weights, total)
        for part, share in zip(parts, self.counts):
            if not share:
                raise ValueError(
                    f"weight of {part.name!r} must give it a row an epoch, got {part.weight}: raise it or "
                    "rows_per_epoch"
                )
        self._ends = list(accumulate(self.counts))

    def __len__(self) -> int:
        """Rows of one epoch; positions go on beyond it."""
        return self._ends[-1]

    def pick(self, position: int) -> Pick:
        """Which row stands at a position, counted from the first epoch on."""
        epoch, slot = divmod(position, len(self))
        if self.shuffle:
            slot = shuffled(slot, len(self), self.seed, ORDER, epoch)
        part = bisect_right(self._ends, slot)
        ordinal = epoch * self.counts[part] + slot - (self._ends[part] - self.counts[part])
        size = len(self.parts[part].rows)
        cycle, place = divmod(ordinal, size)
        return Pick(part, shuffled(place, size, self.seed, ROWS, part, cycle) if self.shuffle else place)

    def stand_in(self, position: int, attempt: int) -> Pick:
        """A row of the same part for one that turned out to be bad; the same every time."""
        part = self.pick(position).part
        return Pick(part, mix(self.seed, STAND_IN, position, attempt) % len(self.parts[part].rows))

    def candidates(self, position: int) -> Iterator[Dialogue | InvalidRow]:
        """The row at a position, then those that may stand in for it, without end."""
        pick = self.pick(position)
        for attempt in count():
            try:
                yield self.read(pick)
            except InvalidRow as error:
                yield error
            pick = self.stand_in(position, attempt)

    def name_at(self, position: int) -> str:
        """The part that the row at a position comes from."""
        return self.parts[self.pick(position).part].name

    def read(self, pick: Pick) -> Dialogue:
        """The row itself.

        Raises:
            InvalidRow: the row cannot be read or used.
        """
        return self.parts[pick.part].rows[pick.row]

    def __getitem__(self, position: int) -> Dialogue:
        return self.read(self.pick(position))

    def state_dict(self) -> dict[str, object]:
        """Everything that the order follows from."""
        return {
            "seed": self.seed,
            "shuffle": self.shuffle,
            "parts": {part.name: [len(part.rows), count] for part, count in zip(self.parts, self.counts)},
        }

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Make sure that a run goes on in the order it began with.

        Raises:
            ValueError: seed, parts, their sizes or their shares differ.
        """
        if state != self.state_dict():
            raise ValueError(
                f"the mixture must be the one that the run began with, {state}, got {self.state_dict()}: "
                "restore the data and its settings, or begin a new run"
            )


def _weights(parts: tuple[RowSet, ...]) -> list[float]:
    names = [part.name for part in parts]
    if not parts or len(set(names)) < len(names):
        raise ValueError(f"parts must be at least one, of different names, got {names}: rename or add")
    given = [part.weight for part in parts if part.weight is not None]
    if not given:
        return [float(len(part.rows)) for part in parts]
    if len(given) < len(parts) or not all(w > 0 and math.isfinite(w) for w in given):
        raise ValueError(
            f"weights must be positive, for all parts or for none, got {[part.weight for part in parts]}: "
            "give each part one"
        )
    return given


def _shares(weights: list[float], total: int) -> list[int]:
    """Whole numbers in proportion to the weights that add up to the total, by largest remainders."""
    exact = [weight / sum(weights) * total for weight in weights]
    counts = [math.floor(share + 1e-9) for share in exact]
    remainders = sorted(range(len(exact)), key=lambda k: counts[k] - exact[k])
    for k in remainders[: total - sum(counts)]:
        counts[k] += 1
    return counts


def mix(*numbers: int) -> int:
    """64 pseudo-random bits from whole numbers; the same on every machine.

    Source: the finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014), chained.

    Example:
        >>> mix(1, 2) == mix(1, 2), mix(1, 2) == mix(2, 1)
        (True, False)
    """
    state = 0
    for number in numbers:
        state = (state + (number & MASK) + 0x9E3779B97F4A7C15) & MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & MASK
        state ^= state >> 31
    return state


def shuffled(place: int, size: int, *key: int) -> int:
    """Which of `size` things stands at a place of a shuffle; every key is another shuffle.

    A Feistel cipher on the next power of four, walked until it lands inside: exact, and the memory of a few
    numbers, however many rows there are.

    Args:
        place: in 0..size - 1.
        size: how many things.
        key: whole numbers that name the shuffle.

    Example:
        >>> sorted(shuffled(k, 10, 7) for k in range(10)) == list(range(10))
        True
    """
    if not 0 <= place < size:
        raise ValueError(f"place must be in 0..{size - 1}, got {place}: take it modulo the size")
    half = max(FEWEST_HALF_BITS, ((size - 1).bit_length() + 1) // 2)
    low = (1 << half) - 1
    start = mix(*key)
    keys = [mix(start, number) for number in range(ROUNDS)]
    while True:
        left, right = place >> half, place & low
        for round_key in keys:
            left, right = right, left ^ (mix(round_key, right) & low)
        place = left << half | right
        if place < size:
            return place


Part = RowSet  # the name until 0.1, for one release
