"""Read rows from front to back: shards behind a pipe, compressed ones, any iterable."""

from collections.abc import Callable, Iterator, Sequence
from itertools import count, islice
from pathlib import Path
from typing import BinaryIO, Protocol, TypeVar

from torch.utils.data import IterableDataset, get_worker_info

from bvllm.data.dialogue import Dialogue
from bvllm.data.encode import Encoder, Example
from bvllm.data.faults import InvalidRow, InvalidRowLog
from bvllm.data.mixture import mix, shuffled
from bvllm.data.shards import MOST_BYTES, read_samples, sample_to_dialogue

R = TypeVar("R")
WINDOW, SHARDS = 5, 6  # what a shuffle is for: part of its key


class RowSource(Protocol):
    """Something that can be read through, in shares."""

    def share(self, order: int, index: int, of: int) -> Iterator[Dialogue | InvalidRow]:
        """Every `of`-th row or shard from `index` on; all shares together are the set, each row once.

        `order` is a key: another one, another order of shards.
        """
        ...


class TarSource:
    """Shards that are opened one after the other, also compressed ones.

    Whole shards are shared out where there are enough for everyone, else every share reads all of them and
    keeps its rows.

    Args:
        open_shards: one function per shard that opens it; paths will do.
        max_bytes: of one sample.
    """

    def __init__(
        self, open_shards: Sequence[str | Path | Callable[[], BinaryIO]], max_bytes: int = MOST_BYTES
    ) -> None:
        self.open_shards, self.max_bytes = tuple(open_shards), max_bytes

    def share(self, order: int, index: int, of: int) -> Iterator[Dialogue | InvalidRow]:
        size = len(self.open_shards)
        shards = [shuffled(k, size, order, SHARDS) for k in range(size)]
        if size >= of:
            yield from (row for shard in shards[index::of] for row in self._rows(shard))
        else:
            yield from islice((row for shard in shards for row in self._rows(shard)), index, None, of)

    def _rows(self, shard: int) -> Iterator[Dialogue | InvalidRow]:
        opener = self.open_shards[shard]
        name = f"shard {shard}" if callable(opener) else str(opener)
        with opener() if callable(opener) else open(opener, "rb") as file:
            for number, sample in enumerate(read_samples(file, name, self.max_bytes)):
                if isinstance(sample, InvalidRow):
                    yield sample
                else:
                    yield attempt(sample_to_dialogue, sample, f"{name}:{sample.key} (sample {number})")


class RowStream(IterableDataset[Example]):
    """Examples from a source, shuffled within windows, epoch after epoch without end.

    Ranks and loader workers read shares of their own. Invalid rows are noted and passed over. Where workers
    fetch ahead, only they know how far they are: `state_dict` is in the form that torchdata's
    StatefulDataLoader collects from each. Sets that are files here are better read with `TarRows` in a
    `Mixture`, which goes on anywhere without reading up to there.

    Args:
        source: what to read.
        encoder: reads media and tokenizes.
        log: where invalid rows go.
        window: rows that are shuffled together and held in memory; 1 keeps the order.
        seed: of the order.
        rank, world: of this process.
        epochs: None for no end; iterating again goes on behind them, so that nothing comes twice.
    """

    def __init__(
        self,
        source: RowSource,
        encoder: Encoder,
        log: InvalidRowLog | None = None,
        *,
        window: int = 256,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
        epochs: int | None = None,
    ) -> None:
        if window < 1 or not 0 <= rank < world:
            raise ValueError(
                f"window must be at least 1 and rank in 0..world - 1, got {window}, {rank} of {world}: "
                "count ranks from 0"
            )
        self.source, self.encoder, self.log = source, encoder, log or InvalidRowLog()
        self.window, self.seed, self.rank, self.world, self.epochs = window, seed, rank, world, epochs
        self._epoch = self._row = 0

    def __iter__(self) -> Iterator[Example]:
        worker = get_worker_info()
        index, of = (0, 1) if worker is None else (worker.id, worker.num_workers)
        index, of = self.rank * of + index, self.world * of
        for epoch in count(self._epoch):
            if self.epochs is not None and epoch >= self.epochs:
                break
            found = good = False
            begun = self._row
            for row, what in self._shuffled(epoch, index, of):
                found = True
                self._epoch, self._row = epoch, row + 1
                example = self._example(what)
                if example is not None:
                    good = True
                    yield example
            if found and not good and not begun:
                raise ValueError(
                    f"share {index} of {of} must hold a row that can be learned from, got none in a whole "
                    "epoch: see the faults"
                )
            if not found and not self._row:
                raise ValueError(f"share {index} of {of} must hold rows, got none: use fewer workers")
            self._epoch, self._row = epoch + 1, 0

    def state_dict(self) -> dict[str, int]:
        """How far this share has come: epochs, and rows of the epoch, bad ones counted."""
        return {"epoch": self._epoch, "row": self._row}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on there; rows up to it are read, but neither decoded nor tokenized."""
        self._epoch, self._row = state["epoch"], state["row"]

    def _shuffled(self, epoch: int, index: int, of: int) -> Iterator[tuple[int, Dialogue | InvalidRow]]:
        rows = self.source.share(mix(self.seed, epoch), index, of)
        return in_windows(rows, self.window, self.seed, epoch, index, begin=self._row)

    def _example(self, row: Dialogue | InvalidRow) -> Example | None:
        try:
            if isinstance(row, InvalidRow):
                raise row
            return self.encoder(row)
        except InvalidRow as error:
            self.log.add(error)
            return None


def in_windows(
    rows: Iterator[R], window: int, seed: int, epoch: int, index: int = 0, *, begin: int = 0
) -> Iterator[tuple[int, R]]:
    """Rows with their places, shuffled within windows.

    Args:
        rows: in the order they lie in.
        window: rows that are shuffled together and held in memory; 1 keeps the order.
        seed, epoch, index: name the shuffle; `index` is the share's.
        begin: the first place that is wanted; rows before it are read all the same.

    Example:
        >>> [row for _, row in in_windows(iter("abcdef"), 3, seed=0, epoch=0)]
        ['b', 'a', 'c', 'd', 'e', 'f']
    """
    for number in count():
        first = number * window
        held = list(islice(rows, window))
        for k in range(max(0, begin - first), len(held)):
            yield first + k, held[shuffled(k, len(held), seed, WINDOW, epoch, index, number)]
        if len(held) < window:
            return


def attempt(read: Callable[[R, str], Dialogue], raw: R, where: str) -> Dialogue | InvalidRow:
    """A row, or what is wrong with it, so that a walk over rows goes on behind a bad one."""
    try:
        return read(raw, where)
    except InvalidRow as error:
        return error
