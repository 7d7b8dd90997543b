"""Serve rows in order as torch and transformers' Trainer take them."""

from collections.abc import Iterator
from itertools import islice
from typing import Any, Protocol

from torch.utils.data import Dataset, Sampler

from bvllm.data.budget import FrameShare, RandomBudget, RandomFrameTokens
from bvllm.data.dialogue import Dialogue
from bvllm.data.encode import Encoder
from bvllm.data.faults import InvalidRow, InvalidRowLog
from bvllm.data.mixture import Rows

MOST_STAND_INS = 100  # invalid rows one after the other before a set is given up


class Order(Protocol):
    """Which row stands at which place of a run: a `Mixture` of files, or a `StreamOrder`."""

    def __len__(self) -> int: ...

    def candidates(self, position: int) -> Iterator[Dialogue | InvalidRow]:
        """The row at a position, then those that may stand in for it; the same every time."""
        ...

    def name_at(self, position: int) -> str:
        """The set that the row at a position comes from, for messages."""
        ...

    def state_dict(self) -> dict[str, object]: ...

    def load_state_dict(self, state: dict[str, object]) -> None: ...


class RowEncoder(Protocol):
    """What makes an example of a row: `Encoder`, or what a wrapped model needs."""

    def __call__(self, dialogue: Dialogue, budget: int | FrameShare | None, place: int) -> Any:
        """Encode one row.

        Raises:
            InvalidRow: nothing can be learned from it.
        """
        ...


class TrainingSet(Dataset[Any]):
    """Examples by position; positions may go beyond one epoch.

    An invalid row is noted and another of its set takes its place, the same one every time: batches keep
    their size, ranks their pace, and a resumed run its data.

    Args:
        order: which row stands where, a `Mixture` or a `StreamOrder`.
        encoder: reads and tokenizes.
        log: where invalid rows go.
        budget: a random one for every step; None keeps the processor's.
        rows_per_step: rows of one optimizer step over all ranks; needed with `budget`.
    """

    def __init__(
        self,
        order: Order,
        encoder: RowEncoder,
        log: InvalidRowLog | None = None,
        *,
        budget: RandomBudget | RandomFrameTokens | None = None,
        rows_per_step: int | None = None,
    ) -> None:
        if (budget is None) != (rows_per_step is None) or (rows_per_step or 1) < 1:
            raise ValueError(
                f"rows_per_step must be at least 1 and go with a budget, got {rows_per_step} with {budget}: "
                "give both or neither"
            )
        self.order, self.encoder, self.log = order, encoder, log or InvalidRowLog()
        self.budget, self.rows_per_step = budget, rows_per_step

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, position: int) -> Any:
        """The example at a position.

        Raises:
            InvalidRow: the log makes invalid rows fatal
            ValueError: a set gives nothing but invalid rows.
        """
        budget = (
            self.budget.at(position // self.rows_per_step) if self.budget and self.rows_per_step else None
        )
        for row in islice(self.order.candidates(position), MOST_STAND_INS):
            try:
                if isinstance(row, InvalidRow):
                    raise row
                return self.encoder(row, budget, position)
            except InvalidRow as error:
                self.log.add(error)
        name = self.order.name_at(position)
        raise ValueError(
            f"part {name!r} must hold good rows, got {MOST_STAND_INS} bad ones in a row: mend it; the last "
            f"was {self.log.faults()[-1]}"
        )

    def state_dict(self) -> dict[str, object]:
        """What the order of the data follows from; see the order's own."""
        return self.order.state_dict()

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Refuse to go on with other data; see the order's own."""
        self.order.load_state_dict(state)


class OrderSampler(Sampler[int]):
    """Positions in order, from wherever a run stands.

    A run is one pass over `rows` positions, steps times the rows of a step, however many epochs that is.
    Under accelerate, which shares out batches itself, rank and world stay 0 and 1.

    Args:
        rows: positions of the whole run.
        rank, world: this process takes every world-th position.

    Raises:
        ValueError: ranks would get different numbers of rows.

    Example:
        >>> sampler = OrderSampler(8, rank=1, world=2)
        >>> sampler.go_on_at(4)
        >>> list(sampler), len(sampler)
        ([5, 7], 2)
    """

    def __init__(self, rows: int, *, rank: int = 0, world: int = 1) -> None:
        if not 0 <= rank < world:
            raise ValueError(f"rank must be in 0..world - 1, got {rank} of {world}: count ranks from 0")
        if rows < 1 or rows % world:
            raise ValueError(
                f"rows must be a positive multiple of {world} ranks, got {rows}: use steps x rows of a step"
            )
        self.rows, self.rank, self.world = rows, rank, world
        self._start = self._given = 0

    def __len__(self) -> int:
        return (self.rows - self._start) // self.world

    def __iter__(self) -> Iterator[int]:
        self._given = self._start
        for position in range(self._start + self.rank, self.rows, self.world):
            self._given += self.world
            yield position

    def go_on_at(self, position: int) -> None:
        """Begin at a position: rows that all ranks together have trained on.

        After k steps that is k times the rows of a step, whatever a loader has fetched ahead.
        """
        if not 0 <= position <= self.rows or position % self.world:
            raise ValueError(
                f"position must be a multiple of {self.world} in 0..{self.rows}, got {position}: use steps x "
                "rows of a step"
            )
        self._start = self._given = position

    def state_dict(self) -> dict[str, int]:
        """Where it stands; a loader that fetches ahead is ahead of the training, see `go_on_at`."""
        return {"position": self._given}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.go_on_at(state["position"])


def check_rows(rows: Rows, log: InvalidRowLog, encoder: Encoder | None = None) -> int:
    """Go through a set before training on it; every invalid row goes to the log.

    Args:
        rows: the set.
        log: see its `summary`.
        encoder: with one, media are decoded and texts tokenized as well, which takes as long as an epoch of
            loading; without, only the rows are read and their files checked for existence.

    Returns:
        How many rows are good.
    """
    good = 0
    for number in range(len(rows)):
        try:
            row = rows[number]
            if encoder is not None:
                encoder(row)
            good += 1
        except InvalidRow as error:
            log.add(error)
    return good
