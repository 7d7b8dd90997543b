"""Rows that can only be read from front to back: shards behind a pipe, sets on the Hub."""

from collections.abc import Callable, Iterator, Sequence
from itertools import count, islice
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeVar

from torch.utils.data import IterableDataset, get_worker_info

from bvllm.data.dialogue import Dialogue, Media, MediaKind
from bvllm.data.encode import Encoder, Example
from bvllm.data.faults import BadRow, FaultLog
from bvllm.data.permute import mix, shuffled
from bvllm.data.readers.parse import row_to_dialogue
from bvllm.data.shards import MOST_BYTES, read_samples, sample_to_dialogue

R = TypeVar("R")
WINDOW, SHARDS = 5, 6  # what a shuffle is for: part of its key


class RowSource(Protocol):
    """Something that can be read through, in shares."""

    def share(self, order: int, index: int, of: int) -> Iterator[Dialogue | BadRow]:
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

    def share(self, order: int, index: int, of: int) -> Iterator[Dialogue | BadRow]:
        size = len(self.open_shards)
        shards = [shuffled(k, size, order, SHARDS) for k in range(size)]
        if size >= of:
            yield from (row for shard in shards[index::of] for row in self._rows(shard))
        else:
            yield from islice((row for shard in shards for row in self._rows(shard)), index, None, of)

    def _rows(self, shard: int) -> Iterator[Dialogue | BadRow]:
        opener = self.open_shards[shard]
        name = f"shard {shard}" if callable(opener) else str(opener)
        with opener() if callable(opener) else open(opener, "rb") as file:
            for number, sample in enumerate(read_samples(file, name, self.max_bytes)):
                if isinstance(sample, BadRow):
                    yield sample
                else:
                    yield _attempt(sample_to_dialogue, sample, f"{name}:{sample.key} (sample {number})")


class HubSource:
    """Rows of a Hub dataset in streaming form, or of any iterable of dictionaries.

    A dictionary is a row as JSON would give it, but that images and videos may be bytes, or {"bytes": ...} as
    the Hub stores them.

    Args:
        rows: what to iterate over, anew each epoch; `open_hub` makes one.
        name: for messages.
        shards: files it consists of, where `rows.shard` can share them out; otherwise every share reads all
            rows and keeps its own.
    """

    def __init__(self, rows: Any, name: str, shards: int = 1) -> None:
        self.rows, self.name, self.shards = rows, name, shards

    def share(self, order: int, index: int, of: int) -> Iterator[Dialogue | BadRow]:
        name, rows = self.name, self.rows
        if of > 1 and self.shards >= of:
            rows, name = rows.shard(num_shards=of, index=index), f"{name}, share {index} of {of}"
            index, of = 0, 1
        for number, row in enumerate(rows):
            if number % of == index:
                yield _attempt(hub_row, row, f"{name} (row {number})")


class RowStream(IterableDataset[Example]):
    """Examples from a source, shuffled within windows, epoch after epoch without end.

    Ranks and loader workers read shares of their own. Bad rows are noted and passed over. Where workers fetch
    ahead, only they know how far they are: `state_dict` is in the form that torchdata's StatefulDataLoader
    collects from each. Sets that are files here are better read with `TarRows` in a `Mixture`, which goes on
    anywhere without reading up to there.

    Args:
        source: what to read.
        encoder: reads media and tokenizes.
        log: where bad rows go.
        window: rows that are shuffled together and held in memory; 1 keeps the order.
        seed: of the order.
        rank, world: of this process.
        epochs: None for no end.
    """

    def __init__(
        self,
        source: RowSource,
        encoder: Encoder,
        log: FaultLog | None = None,
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
        self.source, self.encoder, self.log = source, encoder, log or FaultLog()
        self.window, self.seed, self.rank, self.world, self.epochs = window, seed, rank, world, epochs
        self._epoch = self._row = 0

    def __iter__(self) -> Iterator[Example]:
        worker = get_worker_info()
        index, of = (0, 1) if worker is None else (worker.id, worker.num_workers)
        index, of = self.rank * of + index, self.world * of
        for epoch in count(self._epoch):
            if self.epochs is not None and epoch >= self.epochs:
                break
            found = False
            for row, what in self._shuffled(epoch, index, of):
                found = True
                self._epoch, self._row = epoch, row + 1
                example = self._example(what)
                if example is not None:
                    yield example
            if not found and not self._row:
                raise ValueError(f"share {index} of {of} must hold rows, got none: use fewer workers")
            self._epoch, self._row = epoch + 1, 0

    def state_dict(self) -> dict[str, int]:
        """How far this share has come: epochs, and rows of the epoch, bad ones counted."""
        return {"epoch": self._epoch, "row": self._row}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on there; rows up to it are read, but neither decoded nor tokenized."""
        self._epoch, self._row = state["epoch"], state["row"]

    def _shuffled(self, epoch: int, index: int, of: int) -> Iterator[tuple[int, Dialogue | BadRow]]:
        rows, begin = self.source.share(mix(self.seed, epoch), index, of), self._row
        for number in count():
            first = number * self.window
            held = list(islice(rows, self.window))
            for k in range(max(0, begin - first), len(held)):
                place = shuffled(k, len(held), self.seed, WINDOW, epoch, index, number)
                yield first + k, held[place]
            if len(held) < self.window:
                return

    def _example(self, row: Dialogue | BadRow) -> Example | None:
        try:
            if isinstance(row, BadRow):
                raise row
            return self.encoder(row)
        except BadRow as error:
            self.log.add(error)
            return None


def hub_row(row: dict[str, Any], where: str) -> Dialogue:
    """A row whose media are bytes.

    Errors:
        BadRow.
    """
    held: dict[str, bytes] = {}
    named = dict(row)
    for key in ("image", "images", "video", "videos"):
        if row.get(key) is not None:
            values = row[key] if isinstance(row[key], list) else [row[key]]
            named[key] = [f"{key} {k}" for k in range(len(values))]
            held |= {name: _bytes_of(value, where) for name, value in zip(named[key], values)}

    def find(kind: MediaKind, name: str, _: str | None) -> Media:
        if name not in held:
            raise BadRow(where, "missing", f"{kind} must come with the row, got the path {name!r}")
        return Media(kind, held[name])

    return row_to_dialogue(named, where, find)


def open_hub(name: str, split: str = "train", **options: Any) -> HubSource:
    """A dataset of the Hub in streaming form, its images and videos left as they are stored.

    Args:
        name, split: which.
        **options: of `datasets.load_dataset`.

    Errors:
        ImportError where `datasets` is not installed.
    """
    try:
        import datasets
    except ImportError:
        raise ImportError('Hub datasets need the package datasets: pip install "datasets>=4"') from None
    rows = datasets.load_dataset(name, split=split, streaming=True, **options)
    for column, feature in (rows.features or {}).items():
        if isinstance(feature, datasets.Image | datasets.Video):
            rows = rows.cast_column(column, type(feature)(decode=False))
    return HubSource(rows, f"{name}:{split}", rows.num_shards)


def _bytes_of(value: object, where: str) -> bytes:
    data = value.get("bytes") if isinstance(value, dict) else value
    if not isinstance(data, bytes):
        raise BadRow(
            where, "schema", f"media must be bytes, got {type(value).__name__}: cast with decode=False"
        )
    return data


def _attempt(read: Callable[[R, str], Dialogue], raw: R, where: str) -> Dialogue | BadRow:
    try:
        return read(raw, where)
    except BadRow as error:
        return error
