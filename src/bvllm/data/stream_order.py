"""Order rows that can only be read from front to back, by their place in a run."""

import os
from collections import deque
from collections.abc import Iterator
from itertools import count

from bvllm.data.dialogue import Dialogue
from bvllm.data.faults import InvalidRow
from bvllm.data.mixture import mix
from bvllm.data.streams import RowSource, in_windows


class StreamOrder:
    """A source by position: place p holds the p-th row of it, shuffled within windows, epoch after epoch.

    For sets that fit no disk. Whoever asks reads the source through and passes over what it was not asked
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
            rows = self.source.share(mix(self.seed, epoch), 0, 1)
            for _, row in in_windows(rows, self.window, self.seed, epoch):
                found = True
                yield row
            if not found:
                raise ValueError(f"stream {self.name!r} must hold rows, got none: name another")
