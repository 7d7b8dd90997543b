"""Hash a file's bytes (SHA-256), cached while its inode, size and times are unchanged.

A file is read once. Its hash is kept in the index folder under device, inode, size, time of change and time
of the last change of the inode, in nanoseconds: no ordinary write leaves all five as they were. As with git's
index, a file changed within the last seconds is not remembered, since a clock's tick may hide a second
change. What this cannot see: bytes that change beneath the file system (a failing disk, a device written
directly). Removing the `contents.log` forgets everything.
"""

import hashlib
import os
import re
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from bvllm.index import disk
from bvllm.video import Limits, VideoError
from bvllm.video.safe_open import open_source

LOG, NEW_LOG = "contents.log", "contents.log.tmp"
MAX_LOG_BYTES = 4 << 20  # 25 000 videos; the older half is forgotten above it
BLOCK_BYTES = 1 << 20
SETTLED_SECONDS = 2.0
LINE = re.compile(rb"([0-9a-f]{64}) ([0-9a-f]{64}) ([0-9a-f]{16})")


@dataclass(frozen=True)
class FileHash:
    """SHA-256 of a file, and the identity the file had when it was read."""

    sha256: str
    identity: tuple[int, ...]


def identity_of(file: str | Path | int) -> tuple[int, ...]:
    """What the system says of a file without reading it: changes whenever the file does."""
    status = os.stat(file)
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def file_hash_of(path: str | Path, folder: Path, limits: Limits) -> FileHash:
    """SHA-256 of a file: read from the log in `folder`, or computed and added to it.

    Raises:
        VideoError: the file cannot be read, or changes meanwhile.
    """
    with open_source(path, limits) as file:
        identity = identity_of(file.fileno())
        name = hashlib.sha256(repr(identity).encode()).hexdigest()
        known = _recall(folder / LOG, name)
        if known is not None:
            return FileHash(known, identity)
        found = hash_file(file)
        if identity_of(file.fileno()) != identity:
            raise VideoError(
                "io", f"video must stay as it is while it is read, got {str(path)!r} changing: wait for it"
            )
    changed = identity[4] / 1e9  # by the system's clock; the other time may be set to anything
    if changed < time.time() - SETTLED_SECONDS:
        _remember(folder, name, found)
    return FileHash(found, identity)


def hash_file(file: BinaryIO) -> str:
    """SHA-256 of a file, as hex; gigabytes a second where the processor has instructions for it.

    Raises:
        VideoError: the disk fails.
    """
    try:
        digest = hashlib.sha256()
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
        return digest.hexdigest()
    except OSError:
        raise VideoError(
            "io", "video must be readable to its end, got one that fails: check the disk"
        ) from None


def _line(name: str, found: str) -> bytes:
    """With a checksum of its own: a torn line is no line."""
    text = f"{name} {found}"
    return f"{text} {hashlib.sha256(text.encode()).hexdigest()[:16]}\n".encode()


def _recall(log: Path, name: str) -> str | None:
    try:
        descriptor = disk.open_to_read(log)
    except OSError:
        return None
    try:
        data = disk.read(descriptor, 2 * MAX_LOG_BYTES, 0)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    start = data.rfind(name.encode() + b" ")
    match = LINE.match(data, start) if start >= 0 else None
    if match is None:
        return None
    found = match[2].decode()
    return found if _line(name, found)[:-1] == match[0] else None


def _remember(folder: Path, name: str, found: str) -> None:
    """Best effort: an index that cannot be written to is still read."""
    log = folder / LOG
    with suppress(OSError):
        descriptor = disk.create(log)
        try:
            end = os.fstat(descriptor).st_size
            disk.write(descriptor, b"\n" * bool(end) + _line(name, found), end)
        finally:
            os.close(descriptor)
        if end > MAX_LOG_BYTES:
            _forget_half(folder)


def _forget_half(folder: Path) -> None:
    descriptor = disk.open_to_read(folder / LOG)
    try:
        data = disk.read(descriptor, 2 * MAX_LOG_BYTES, 0)
    finally:
        os.close(descriptor)
    disk.remove(folder / NEW_LOG)
    descriptor = disk.create(folder / NEW_LOG)
    try:
        disk.write(descriptor, data[len(data) // 2 :], 0)
    finally:
        os.close(descriptor)
    disk.rename(folder / NEW_LOG, folder / LOG)
