"""From whatever the caller holds to an open, seekable file that is safe to hand on."""

import errno
import io
import os
import re
import stat
import tempfile
from pathlib import Path
from threading import Lock
from typing import BinaryIO

from .errors import Kind, VideoError
from .limits import Limits

FileSource = str | Path | bytes | BinaryIO
URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{1,20}://")
COPY_BYTES = 1 << 20
OPEN_ERRORS: dict[int, tuple[Kind, str]] = {
    errno.ENOENT: ("missing", "exist"),
    errno.ENOTDIR: ("missing", "exist"),
    errno.ENAMETOOLONG: ("missing", "have a shorter name"),
    errno.EACCES: ("permission", "be readable"),
    errno.EPERM: ("permission", "be readable"),
    errno.ELOOP: ("not_regular", "be a regular file"),
    errno.ENXIO: ("not_regular", "be a regular file"),
    errno.EISDIR: ("not_regular", "be a regular file"),
}


def open_source(source: FileSource, limits: Limits) -> BinaryIO:
    """An open binary file at position 0, with at least one byte and at most `limits.max_bytes`.

    Errors: `VideoError` of kind missing, not_regular, permission, empty, limit, outside_root, io or usage.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        file: BinaryIO = io.BytesIO(source)
    elif isinstance(source, str | os.PathLike):
        return _open_path(os.fspath(source), limits)
    elif callable(getattr(source, "read", None)):
        file = _seekable(source, limits)
    else:
        raise VideoError(
            "usage",
            f"video must be a path, bytes, a binary file or FrameList, got {type(source).__name__}: pass one",
        )
    check_size(_size(file), limits)
    return file


def check_readable(source: FileSource, limits: Limits) -> None:
    """Refuse a file that cannot be read at all, without reading it; errors as for `open_source`."""
    file = open_source(source, limits)
    if isinstance(source, str | os.PathLike):
        file.close()


def _open_path(path: str, limits: Limits) -> BinaryIO:
    """Opened by us, not by FFmpeg: no pipe that blocks, no device, no folder, nothing outside the root."""
    if URL.match(path) and not os.path.lexists(path):
        raise VideoError("usage", "video must be a local file, got a URL: download it first")
    flags = (
        os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOCTTY", 0)
    )
    try:
        descriptor = os.open(path, flags | getattr(os, "O_BINARY", 0))
    except OSError as error:
        kind, rule = OPEN_ERRORS.get(error.errno or 0, ("io", "be readable"))
        remedy = "ask for the right to read it" if kind == "permission" else "check the path"
        raise VideoError(kind, f"video must {rule}, got {path!r}: {remedy}") from None
    except ValueError:
        raise VideoError(
            "missing", "video path must hold no NUL character, got one: check the path"
        ) from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise VideoError(
                "not_regular", f"video must be a regular file, got {path!r}: name the file itself"
            )
        check_size(status.st_size, limits)
        _check_root(descriptor, path, limits)
        return os.fdopen(descriptor, "rb")
    except BaseException:  # also on an interrupt: a descriptor must not leak
        os.close(descriptor)
        raise


def _check_root(descriptor: int, path: str, limits: Limits) -> None:
    """Compares what was opened, not what the name says by now: a link swapped in between changes nothing."""
    if limits.root is None:
        return
    link = f"/proc/self/fd/{descriptor}"
    real = os.path.realpath(link if os.path.lexists(link) else path)
    root = os.path.realpath(limits.root)
    if os.path.commonpath([real, root]) != root:
        raise VideoError(
            "outside_root", f"video must lie inside the allowed folder, got {path!r}: move it there"
        )


def check_size(size: int, limits: Limits) -> None:
    """Errors: `VideoError` of kind empty or limit."""
    if size == 0:
        raise VideoError(
            "empty", "video must hold bytes, got none: check that the upload or download finished"
        )
    if size > limits.max_bytes:
        raise VideoError(
            "limit", f"video must have at most {limits.max_bytes} bytes, got {size}: raise Limits.max_bytes"
        )


def _size(file: BinaryIO) -> int:
    try:
        size = file.seek(0, io.SEEK_END)
        file.seek(0)
    except (OSError, ValueError):
        raise VideoError(
            "io", "video file object must be open and seekable, got one that is not: reopen it"
        ) from None
    return size


def _seekable(file: BinaryIO, limits: Limits) -> BinaryIO:
    """The file itself, or a copy of a pipe's bytes in an unnamed temporary file."""
    try:
        if not isinstance(file.read(0), bytes):
            raise VideoError("usage", 'video file must be binary, got text: open it with mode "rb"')
        if file.seekable():
            return file
        copy = tempfile.TemporaryFile()  # noqa: SIM115 - handed on, closed by the reader
        while block := file.read(COPY_BYTES):
            copy.write(block)
            if copy.tell() > limits.max_bytes:
                break
    except (OSError, ValueError, AttributeError):
        raise VideoError("io", "video file object must be readable, got one that fails: reopen it") from None
    return copy


class View:
    """A place of its own in a file that several readers share; `lock` is theirs together."""

    def __init__(self, file: BinaryIO, lock: Lock) -> None:
        self._file = file
        self._lock = lock
        self._at = 0

    def read(self, size: int) -> bytes:
        with self._lock:
            self._file.seek(self._at)
            data = self._file.read(size)
        self._at += len(data)
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_END:
            with self._lock:
                self._at = self._file.seek(offset, whence)
        else:
            at = offset + (self._at if whence == io.SEEK_CUR else 0)
            if at < 0:
                raise ValueError(f"offset must not be before the file, got {at}: seek to 0 or beyond")
            self._at = at
        return self._at

    def tell(self) -> int:
        return self._at
