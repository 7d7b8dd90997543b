"""Unpack compressed files of rows, which are told by their first bytes: gzip, bzip2 and xz.

Rows are read by their offsets, in any order, so a compressed file is unpacked once into a temporary one.
"""

import bz2
import gzip
import lzma
import os
import tempfile
import weakref
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from bvllm.common.files import NoTemporarySpace, reason_of

OPENERS: dict[bytes, Callable[[Any], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
}
REFUSED = {b"\x28\xb5\x2f\xfd": "zstd", b"PK\x03\x04": "zip"}
LONGEST_MARK = max(map(len, (*OPENERS, *REFUSED)))
BLOCK = 1 << 20
MOST_UNPACKED_BYTES = 64 << 30  # a file of a few megabytes may unpack to a full disk


class PlainFile:
    """A file of rows as it lies, or unpacked into a temporary file that vanishes with this object.

    Attributes:
        path: where the plain rows lie. A copy of this object in another process reads the same file.

    Args:
        given: the file, perhaps compressed.

    Raises:
        ValueError: it is compressed in another way, damaged, or unpacks to more than 64 GB.
        NoTemporarySpace: the temporary folder is full.
        OSError: it cannot be read.
    """

    def __init__(self, given: Path) -> None:
        self.path = given
        opener = _opener(given)
        if opener is not None:
            self.path = _unpack(given, opener)
            self._remove = weakref.finalize(self, _remove, self.path, os.getpid())

    def __getstate__(self) -> dict[str, Path]:
        return {"path": self.path}


def read_plain(given: Path, most_bytes: int) -> bytes:
    """All bytes of a file, unpacked where it is compressed.

    Raises:
        ValueError: as for `PlainFile`, with this bound.
        OSError: it cannot be read.
    """
    opener = _opener(given)
    return given.read_bytes() if opener is None else b"".join(_blocks(given, opener, most_bytes))


def _remove(path: Path, owner: int) -> None:
    if os.getpid() == owner:  # not a worker that was forked, and ends before
        path.unlink(missing_ok=True)


def _opener(given: Path) -> Callable[[Any], Any] | None:
    with open(given, "rb") as file:
        head = file.read(LONGEST_MARK)
    for mark, name in REFUSED.items():
        if head.startswith(mark):
            raise ValueError(f"{given} must be plain, or packed by gzip, bzip2 or xz, got {name}: unpack it")
    return next((opener for mark, opener in OPENERS.items() if head.startswith(mark)), None)


def _blocks(given: Path, opener: Callable[[Any], Any], most_bytes: int) -> Iterator[bytes]:
    count = 0
    with open(given, "rb") as packed:
        unpacked: BinaryIO = opener(packed)
        while block := _next_block(unpacked, given):
            count += len(block)
            if count > most_bytes:
                raise ValueError(f"{given} must unpack to at most {most_bytes} bytes, got more: split it")
            yield block


def _next_block(unpacked: BinaryIO, given: Path) -> bytes:
    try:
        return unpacked.read(BLOCK)
    except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # the disk's own
            raise
        raise ValueError(f"{given} must unpack to its end, got a damaged file: copy it again") from error


def _unpack(given: Path, opener: Callable[[Any], Any]) -> Path:
    path: Path | None = None
    try:
        descriptor, name = tempfile.mkstemp(prefix="bvllm-rows-")
        path = Path(name)
        with os.fdopen(descriptor, "wb") as file:
            for block in _blocks(given, opener, MOST_UNPACKED_BYTES):
                file.write(block)
        return path
    except BaseException as error:  # also on an interrupt: half a file must not stay
        if path is not None:
            path.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise NoTemporarySpace(
                f"rows of {given} must fit into the temporary folder {tempfile.gettempdir()!r}, got: "
                f"{reason_of(error)}: free some space, or set TMPDIR to another folder"
            ) from error
        raise
