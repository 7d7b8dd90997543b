"""Read WebDataset tar shards in place: samples of a .json and its media, nothing extracted.

Files of one sample follow each other and share their name up to its first dot. The .json is a row in LLaVA's
form or the chat schema; its media are found by name, or in the order they stand in.
"""

import json
import os
import tarfile
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from bvllm.data.dialogue import Dialogue, Media, MediaKind
from bvllm.data.faults import InvalidRow
from bvllm.data.readers.parse import row_to_dialogue

SUFFIXES: dict[str, MediaKind] = {
    **dict.fromkeys(("jpg", "jpeg", "png", "webp"), "image"),
    **dict.fromkeys(("mp4", "m4v", "mov", "mkv", "webm", "avi", "gif", "ts", "flv"), "video"),
}
MOST_BYTES = 1 << 30  # of one sample, which is held in memory
MOST_JSON_BYTES = 64 << 20


@dataclass(frozen=True)
class Sample:
    """Files of one sample: name without folders -> bytes."""

    key: str
    files: dict[str, bytes]


class TarRows:
    """Rows of local shards by number: a mixture takes them like any file of rows.

    One pass over the headers finds the samples; media are neither read nor decoded before they are asked for.

    Args:
        paths: uncompressed .tar files.
        max_bytes: of one sample.

    Raises:
        ValueError: a file is no such archive or the shards hold no sample
        InvalidRow: from `rows[k]`.
    """

    def __init__(self, paths: Sequence[str | Path], max_bytes: int = MOST_BYTES) -> None:
        self.paths, self.max_bytes = [Path(path) for path in paths], max_bytes
        found = array("q")
        for number, path in enumerate(self.paths):
            for first, after in _sample_spans(path):
                found.extend((number, first, after))
        self.spans = np.frombuffer(found, dtype=np.int64).reshape(-1, 3)
        if not len(self.spans):
            raise ValueError(f"shards must hold samples, got none in {len(self.paths)} files: add some")

    def __len__(self) -> int:
        return len(self.spans)

    def __getitem__(self, row: int) -> Dialogue:
        if not 0 <= row < len(self):
            raise IndexError(f"row must be in 0..{len(self) - 1}, got {row}: see len()")
        number, first, after = (int(n) for n in self.spans[row])
        path = self.paths[number]
        with open(path, "rb") as file:
            file.seek(first)
            sample = next(read_samples(file, str(path), self.max_bytes, after - first), None)
        if sample is None:
            raise InvalidRow(
                f"{path}: byte {first}", "truncated", "a sample must be whole, got the end of the file"
            )
        if isinstance(sample, InvalidRow):
            raise sample
        return sample_to_dialogue(sample, f"{path}:{sample.key} (sample {row})")


def read_samples(
    file: BinaryIO, name: str, max_bytes: int = MOST_BYTES, span: int | None = None
) -> Iterator[Sample | InvalidRow]:
    """Samples of an archive one after the other, from wherever the file stands; it need not be seekable.

    Args:
        file: the archive, also compressed where it is read from its beginning.
        name: for messages.
        max_bytes: of one sample; a larger one comes out as an InvalidRow.
        span: stop after so many bytes; None reads to the end.
    """
    key, files, size = "", dict[str, bytes](), 0
    try:
        with tarfile.open(fileobj=file, mode="r|*") as archive:
            for member in archive:
                if member.isdir():
                    continue
                if span is not None and member.offset >= span:
                    break
                if (new := _key(member.name)) != key:
                    if files or size > max_bytes:
                        yield _whole(key, files, size, name, max_bytes)
                    key, files, size = new, {}, 0
                size += member.size
                if not member.isreg() or member.issparse():
                    size = max_bytes + 1  # a link or a device: the sample is not read
                if size > max_bytes:
                    files = {}
                    continue
                data = archive.extractfile(member)
                files[os.path.basename(member.name)] = data.read() if data else b""
            # An archive ends with a block of zeros; with a span, the index has checked it.
            cut = span is None and archive.fileobj.tell() < archive.offset + tarfile.BLOCKSIZE
    except (tarfile.TarError, EOFError, OSError) as error:
        yield InvalidRow(f"{name}:{key}", "truncated", f"a shard must be whole, got {type(error).__name__}")
        return
    if files or size > max_bytes:
        yield _whole(key, files, size, name, max_bytes)
    if cut:
        yield InvalidRow(f"{name}:{key}", "truncated", "a shard must be whole, got no end after this sample")


def sample_to_dialogue(sample: Sample, where: str) -> Dialogue:
    """A sample's row with its media as bytes.

    Raises:
        InvalidRow: there is no .json, it is no row, or media and placeholders do not fit.
    """
    texts = [data for file, data in sample.files.items() if _suffix(file) == "json"]
    if len(texts) != 1 or len(texts[0]) > MOST_JSON_BYTES:
        raise InvalidRow(where, "schema", f"a sample must have one .json, got files {list(sample.files)}")
    try:
        row = json.loads(texts[0].decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise InvalidRow(where, "json", f"a row must be JSON in UTF-8, got {type(error).__name__}") from None
    left = {file: SUFFIXES[_suffix(file)] for file in sample.files if _suffix(file) in SUFFIXES}

    def find(kind: MediaKind, name: str, _: str | None) -> Media:
        base = os.path.basename(name)
        file = base if base in left else next((f for f in left if left[f] == kind), None)
        if file is None:
            raise InvalidRow(where, "missing", f"{kind} must be in the sample, got {name!r}")
        del left[file]
        return Media(kind, sample.files[file])

    dialogue = row_to_dialogue(_with_names(row, left), where, find)
    if left:
        raise InvalidRow(
            where, "placeholder", f"every file must have its placeholder, got {list(left)} without"
        )
    return dialogue


def _with_names(row: object, files: dict[str, MediaKind]) -> object:
    """The row with its sample's files named, where it names none itself."""
    if not isinstance(row, dict) or any(row.get(k) for k in ("image", "images", "video", "videos")):
        return row
    if "conversations" not in row:
        return row
    return {**row, **{kind: [f for f, k in files.items() if k == kind] for kind in ("image", "video")}}


def _whole(key: str, files: dict[str, bytes], size: int, name: str, max_bytes: int) -> Sample | InvalidRow:
    if size > max_bytes:
        return InvalidRow(
            f"{name}:{key}",
            "media",
            f"a sample must be regular files of at most {max_bytes} bytes, got others",
        )
    return Sample(key, files)


def _sample_spans(path: Path) -> Iterator[tuple[int, int]]:
    """First byte and byte after the last of each sample, from the headers alone."""
    key, first, after = None, 0, 0
    try:
        with tarfile.open(path, mode="r:") as archive:
            while member := archive.next():
                archive.members = []  # type: ignore[attr-defined]  # it would keep every header it has seen
                if member.isdir():
                    continue
                if (new := _key(member.name)) != key:
                    if key is not None:
                        yield first, after
                    key, first = new, member.offset
                after = archive.offset
            cut = not _ends(path, archive.offset)
    except tarfile.ReadError:
        if key is None:
            raise ValueError(
                f"{path} must be an uncompressed tar archive, got something else: unpack it, or stream it"
            ) from None
        after, cut = os.path.getsize(path), False  # reading this sample will tell that it is cut
    if key is not None:
        yield first, after
    if cut:
        yield after, after + tarfile.BLOCKSIZE  # reading it will tell that the archive goes no further


def _ends(path: Path, place: int) -> bool:
    """Whether the block of zeros that closes an archive lies there."""
    with open(path, "rb") as file:
        file.seek(place)
        return file.read(tarfile.BLOCKSIZE) == bytes(tarfile.BLOCKSIZE)


def _key(name: str) -> str:
    folder, base = os.path.split(name)
    return os.path.join(folder, base.split(".", 1)[0])


def _suffix(file: str) -> str:
    return file.rsplit(".", 1)[-1].lower()
