"""Stream sets from the Hugging Face Hub row by row; nothing stays on the disk."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bvllm.data.dialogue import Dialogue, Media, MediaKind
from bvllm.data.faults import InvalidRow
from bvllm.data.readers.parse import row_to_dialogue
from bvllm.data.streams import attempt

PREFIX = "hf://"
_WORD = r"[\w.\-]+"
_NAME = re.compile(rf"{PREFIX}({_WORD}/{_WORD})(?:@({_WORD}))?(?:/({_WORD}))?(?::({_WORD}))?")
MEDIA = ("image", "images", "video", "videos")


@dataclass(frozen=True)
class HubName:
    """Which rows of the Hub.

    Attributes:
        path: owner and name of the set.
        split: of the set.
        subset: where the set has several; its configuration, as the Hub calls it.
        revision: commit, tag or branch; with a commit, the rows stay the same for ever.
    """

    path: str
    split: str = "train"
    subset: str | None = None
    revision: str | None = None

    @classmethod
    def parse(cls, text: str) -> "HubName":
        """Read `hf://owner/name[@revision][/subset][:split]`.

        Raises:
            ValueError: any other form.

        Example:
            >>> HubName.parse("hf://lmms-lab/LLaVA-Video-178K/0_30_s_nextqa:open_ended").subset
            '0_30_s_nextqa'
        """
        found = _NAME.fullmatch(text)
        if found is None:
            raise ValueError(
                "a set on the Hub must be named hf://owner/name[@revision][/subset][:split], got "
                f"{text!r}: for example hf://lmms-lab/LLaVA-Video-178K/0_30_s_nextqa:open_ended"
            )
        path, revision, subset, split = found.groups()
        return cls(path, split or "train", subset, revision)

    def __str__(self) -> str:
        revision, subset = (f"@{self.revision}" if self.revision else ""), self.subset or ""
        return f"{self.path}{revision}{subset and '/' + subset}:{self.split}"


class HubSource:
    """Rows of a Hub dataset in streaming form, or of any iterable of dictionaries.

    A dictionary is a row as JSON would give it, but that images and videos may be bytes, or {"bytes": ...} as
    the Hub stores them.

    Args:
        given: what to iterate over, anew each epoch; `open_hub` makes one.
        name: for messages.
    """

    def __init__(self, given: Any, name: str) -> None:
        self.given, self.name = given, name

    def rows(self, order: int) -> Iterator[Dialogue | InvalidRow]:
        """Each row once, as they come: the Hub's streams have no other order."""
        for number, row in enumerate(self.given):
            yield attempt(hub_row, row, f"{self.name} (row {number})")


@dataclass(frozen=True)
class StreamedRows:
    """A streaming dataset of the package `datasets`, row by row.

    By `iter(batch_size=...)`: plain iteration gives each worker of a loader other rows, and here the
    caller decides which worker reads which rows.

    Raises:
        OSError: from reading, for whatever the network and its libraries raise.
    """

    dataset: Any
    name: str

    def __iter__(self) -> Iterator[dict[str, Any]]:
        try:
            for batch in self.dataset.iter(batch_size=1):
                yield {column: values[0] for column, values in batch.items()}
        except Exception as error:  # files, parsers and two clients of the network, each with its own kinds
            raise _unreadable(self.name, error) from error


def open_hub(name: HubName) -> HubSource:
    """A dataset of the Hub in streaming form, its images and videos left as they are stored.

    Raises:
        ImportError: `datasets` is not installed
        OSError: the set cannot be reached or has no such subset, split or revision.
    """
    try:
        import datasets
    except ImportError:
        raise ImportError('Hub datasets need the package datasets: pip install "bvllm[hub]"') from None
    try:
        rows = datasets.load_dataset(
            name.path, name=name.subset, split=name.split, revision=name.revision, streaming=True
        )
        rows = rows if rows.features is None else rows.decode(False)  # nested images and videos, too
    except Exception as error:  # as above
        raise _unreadable(str(name), error) from error
    return HubSource(StreamedRows(rows, str(name)), str(name))


def hub_row(row: dict[str, Any], where: str) -> Dialogue:
    """A row whose media are bytes.

    Raises:
        InvalidRow: the row has not the form of a chat, or of LLaVA's rows.
    """
    held: dict[str, bytes] = {}
    named = dict(row)
    for key in MEDIA:
        if row.get(key) is not None:
            values = row[key] if isinstance(row[key], list) else [row[key]]
            named[key] = [f"{key} {k}" for k in range(len(values))]
            held |= {name: _bytes_of(value, where) for name, value in zip(named[key], values)}

    def find(kind: MediaKind, name: str, _: str | None) -> Media:
        if name not in held:
            raise InvalidRow(where, "missing", f"{kind} must come with the row, got the path {name!r}")
        return Media(kind, held[name])

    return row_to_dialogue(named, where, find)


def _bytes_of(value: object, where: str) -> bytes:
    data = value.get("bytes") if isinstance(value, dict) else value
    if not isinstance(data, bytes):
        raise InvalidRow(
            where, "schema", f"media must be bytes, got {type(value).__name__}: cast with decode=False"
        )
    return data


def _unreadable(name: str, error: Exception) -> OSError:
    first = (str(error).strip() or "no reason").splitlines()[0]
    return OSError(f"{name} could not be read from the Hub, {type(error).__name__}: {first}")
