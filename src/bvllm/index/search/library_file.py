"""Read and write the file of a vector library: its entries and its own bytes, under checksums.

magic (16) | length of the header (8) | SHA-256 of the header (32) | header, JSON | the library's bytes
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from bvllm.index import disk
from bvllm.index.search.library import DamagedLibrary

MAGIC = b"bvllm vectors 1\n"
LENGTH_BYTES, HASH_BYTES = 8, 32
# A line of 80 bytes for each video; nothing larger is read at all.
MOST_HEADER_BYTES = 64_000_000
TEMPORARY = ".tmp"


@dataclass(frozen=True)
class LibraryHeader:
    """What a library's file says of itself.

    Attributes:
        library: the name of the `VectorLibrary` that wrote it.
        channels: C.
        frames: of each entry, by the entry's name; the rows lie in this order.
        payload_bytes, payload_sha256: of the library's bytes.
    """

    library: str
    channels: int
    frames: Mapping[str, int]
    payload_bytes: int
    payload_sha256: str

    @property
    def rows(self) -> int:
        """Frames of all entries."""
        return sum(self.frames.values())


HEADER = TypeAdapter(LibraryHeader)


def header_of(
    library: str, channels: int, frames: Mapping[str, int], payload: NDArray[np.uint8]
) -> LibraryHeader:
    """The header for a library's bytes."""
    return LibraryHeader(library, channels, frames, len(payload), hashlib.sha256(payload).hexdigest())


def write_library(path: Path, header: LibraryHeader, payload: NDArray[np.uint8]) -> None:
    """Write a file in one step: temporary name, fsync, rename, fsync of the folder. For one writer at a time.

    Raises:
        OSError: the disk does not take it: what was there before is still there.
    """
    text = json.dumps(asdict(header)).encode()
    start = MAGIC + len(text).to_bytes(LENGTH_BYTES, "little") + hashlib.sha256(text).digest() + text
    with disk.whole_file(path.with_name(path.name + TEMPORARY), path) as descriptor:
        disk.write(descriptor, start, 0)
        disk.write(descriptor, memoryview(payload), len(start))


def read_header(path: Path) -> LibraryHeader:
    """What a file covers; the library's bytes are not looked at.

    Raises:
        DamagedLibrary: it is no such file.
        OSError: it is not there or not readable.
    """
    descriptor = disk.open_to_read(path)
    try:
        return _header(descriptor)[0]
    finally:
        os.close(descriptor)


def read_library(path: Path) -> tuple[LibraryHeader, NDArray[np.uint8]]:
    """What a file covers, and the library's bytes, every one of them compared.

    Raises:
        DamagedLibrary, OSError: as for `read_header`.
    """
    descriptor = disk.open_to_read(path)
    try:
        header, start = _header(descriptor)
        if os.fstat(descriptor).st_size != start + header.payload_bytes:
            raise DamagedLibrary("its size is not what it says")
        payload = np.frombuffer(disk.read(descriptor, header.payload_bytes, start), np.uint8)
    finally:
        os.close(descriptor)
    if hashlib.sha256(payload).hexdigest() != header.payload_sha256:
        raise DamagedLibrary("its bytes are not those that were written")
    return header, payload


def _header(descriptor: int) -> tuple[LibraryHeader, int]:
    """The header, and where the library's bytes begin."""
    start = len(MAGIC) + LENGTH_BYTES + HASH_BYTES
    fixed = disk.read(descriptor, start, 0)
    if len(fixed) < start or not fixed.startswith(MAGIC):
        raise DamagedLibrary("it is no file of this version")
    length = int.from_bytes(fixed[len(MAGIC) : len(MAGIC) + LENGTH_BYTES], "little")
    if length > MOST_HEADER_BYTES:
        raise DamagedLibrary("its header is too long")
    text = disk.read(descriptor, length, start)
    if hashlib.sha256(text).digest() != fixed[-HASH_BYTES:]:
        raise DamagedLibrary("its header is not what was written")
    try:
        header = HEADER.validate_json(text)
    except (ValueError, RecursionError):
        raise DamagedLibrary("its header cannot be read") from None
    if header.channels < 1 or header.payload_bytes < 0 or min(header.frames.values(), default=0) < 1:
        raise DamagedLibrary("its header makes no sense")
    return header, start + length
