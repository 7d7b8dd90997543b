"""Read rows from front to back, for sets that fit no disk: shards behind a pipe, compressed ones, the Hub.

`StreamOrder` gives each row of such a source a place in a run, as `Mixture` does for files.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import count, islice
from pathlib import Path
from typing import BinaryIO, Protocol, TypeVar

from bvllm.data.dialogue import Dialogue
from bvllm.data.faults import InvalidRow
from bvllm.data.mixture import mix, shuffled
from bvllm.data.shards import MOST_BYTES, read_samples, sample_to_dialogue

R = TypeVar("R")
WINDOW, SHARDS = 5, 6  # what a shuffle is for: part of its key


class RowSource(Protocol):
    """A set that can be read through, again and again."""

    def rows(self, order: int) -> Iterator[Dialogue | InvalidRow]:
        """Each row once; `order` is a key: another one, another order of shards where there are any."""
        ...


class TarSource:
    """Shards that are opened one after the other, also compressed ones.

    Args:
        open_shards: one function per shard that opens it; paths will do.
        max_bytes: of one sample.
    """

    def __init__(
        self, open_shards: Sequence[str | Path | Callable[[], BinaryIO]], max_bytes: int = MOST_BYTES
    ) -> None:
        self.open_shards, self.max_bytes = tuple(open_shards), max_bytes

    def rows(self, order: int) -> Iterator[Dialogue | InvalidRow]:
        """Each row once, shards in the order of the key."""
        size = len(self.open_shards)
        for k in range(size):
            yield from self._rows(shuffled(k, size, order, SHARDS))

    def _rows(self, shard: int) -> Iterator[Dialogue | InvalidRow]:
        opener = self.open_shards[shard]
        name = f"shard {shard}" if callable(opener) else str(opener)
        with opener() if callable(opener) else open(opener, "rb") as file:
            for number, sample in enumerate(read_samples(file, name, self.max_bytes)):
                if isinstance(sample, InvalidRow):
                    yield sample
                else:
                    yield attempt(sample_to_dialogue, sample, f"{name}:{sample.key} (sample {number})")


class StreamOrder:
    """A source by position: place p holds the p-th row of it, shuffled within windows, epoch after epoch.

    For sets that fit no disk. Each reader reads the source through and skips the rows that it was not asked
    for, undecoded: so all ranks and loader workers agree on every place, and each of them reads everything.
    Places are to be asked for in rising order; a lower one begins again at the front, and a run that goes on
    reads up to where it was. An invalid row's place is taken by the next good row, which stands at its own
    place as well.

    Args:
        source: read anew each epoch.
        name: of the source.
        rows: that the run will take; how long the source is cannot be known.
        window: rows that are shuffled together and held in memory with their media; 1 keeps the order.
        seed: of the order.

    Raises:
        ValueError: a window or a number of rows below 1, and where the source turns out to be empty.

    Example:
        >>> from bvllm.data.hub import HubSource
        >>> turns = [{"from": "human", "value": "who?"}, {"from": "gpt", "value": "a cat"}]
        >>> source = HubSource([{"id": name, "conversations": turns} for name in "abc"], "letters")
        >>> order = StreamOrder(source, "letters", rows=8, window=1)
        >>> [next(order.candidates(place)).id for place in (0, 2, 3, 7, 1)]
        ['a', 'c', 'a', 'b', 'b']
    """

    def __init__(self, source: RowSource, name: str, rows: int, *, window: int = 256, seed: int = 0) -> None:
        if window < 1 or rows < 1:
            raise ValueError(
                f"window and rows of a stream must be at least 1, got {window} and {rows}: rows are steps x "
                "rows of a step"
            )
        self.source, self.name, self.rows, self.window, self.seed = source, name, rows, window, seed
        self._stream: Iterator[Dialogue | InvalidRow] = iter(())
        self._ahead: deque[Dialogue | InvalidRow] = deque()  # read, from the place on that was last asked for
        self._place, self._reader = 0, 0  # that place, and the process that reads

    def __len__(self) -> int:
        """Rows of the whole run."""
        return self.rows

    def candidates(self, position: int) -> Iterator[Dialogue | InvalidRow]:
        """The row at a position, then those after it, without end."""
        self._go_to(position)
        for number in count():
            while len(self._ahead) <= number:
                self._ahead.append(next(self._stream))
            yield self._ahead[number]

    def name_at(self, position: int) -> str:
        """The source's name."""
        return self.name

    def state_dict(self) -> dict[str, object]:
        """What the order follows from, beside what the source holds."""
        return {"stream": self.name, "seed": self.seed, "window": self.window}

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Make sure that a run goes on in the order it began with.

        Raises:
            ValueError: name, seed or window differ.
        """
        if state != self.state_dict():
            raise ValueError(
                f"the stream must be the one that the run began with, {state}, got {self.state_dict()}: "
                "restore its settings, or begin a new run"
            )

    def _go_to(self, position: int) -> None:
        # A forked worker must not share the file that its parent reads.
        if position < self._place or self._reader != os.getpid():
            self._stream, self._place, self._reader = self._endless(), 0, os.getpid()
            self._ahead.clear()
        while self._place < position:
            if self._ahead:
                self._ahead.popleft()
            else:
                next(self._stream)
            self._place += 1

    def _endless(self) -> Iterator[Dialogue | InvalidRow]:
        for epoch in count():
            found = False
            rows = self.source.rows(mix(self.seed, epoch))
            for row in in_windows(rows, self.window, self.seed, epoch):
                found = True
                yield row
            if not found:
                raise ValueError(f"stream {self.name!r} must hold rows, got none: name another")


def in_windows(rows: Iterator[R], window: int, seed: int, epoch: int) -> Iterator[R]:
    """Rows shuffled within windows.

    Args:
        rows: in the order they lie in.
        window: rows that are shuffled together and held in memory; 1 keeps the order.
        seed, epoch: name the shuffle.

    Example:
        >>> list(in_windows(iter("abcdef"), 3, seed=0, epoch=0))
        ['b', 'a', 'c', 'd', 'e', 'f']
    """
    for number in count():
        held = list(islice(rows, window))
        # The 0 was the number of a share: kept, so that runs that were begun before go on in their order.
        yield from (held[shuffled(k, len(held), seed, WINDOW, epoch, 0, number)] for k in range(len(held)))
        if len(held) < window:
            return


def attempt(read: Callable[[R, str], Dialogue], raw: R, where: str) -> Dialogue | InvalidRow:
    """A row, or what is wrong with it, so that a walk over rows goes on behind a bad one."""
    try:
        return read(raw, where)
    except InvalidRow as error:
        return error
