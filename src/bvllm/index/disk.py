"""Read, write and rename files of an index, each in one call that is safe against links and power cuts.

Everything that changes a disk goes through these functions, so that a test can record them, replay them up to
a power cut, and leave one of them out.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # pragma: no cover - not a POSIX system
    fcntl = None  # type: ignore[assignment]

# A planted link is never followed, a planted pipe never waited for.
SAFELY = os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


def make_folder(path: Path) -> None:
    """Make a folder and those above it, so that they survive a power cut."""
    if path.is_dir():
        return
    make_folder(path.parent)
    path.mkdir(exist_ok=True)
    sync_folder(path.parent)


def create(path: Path) -> int:
    """A descriptor to read and write, of a file that is made if it is not there."""
    return _regular(os.open(path, os.O_RDWR | os.O_CREAT | SAFELY, 0o666), path)


def open_to_read(path: Path) -> int:
    """A descriptor to read a regular file."""
    return _regular(os.open(path, os.O_RDONLY | SAFELY), path)


def _regular(descriptor: int, path: Path) -> int:
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise OSError(f"{path.name} is no regular file")


def write(descriptor: int, data: bytes | memoryview, offset: int) -> None:
    """Write all of the bytes at a place in a file."""
    left = memoryview(data).cast("B")
    while left:
        written = os.pwrite(descriptor, left, offset)
        left, offset = left[written:], offset + written


def read(descriptor: int, size: int, offset: int) -> bytes:
    """The bytes at a place in a file; fewer where it ends early."""
    parts = []
    while size and (part := os.pread(descriptor, size, offset)):
        parts.append(part)
        size, offset = size - len(part), offset + len(part)
    return b"".join(parts)


def cut(descriptor: int, size: int) -> None:
    """Let a file end here."""
    os.ftruncate(descriptor, size)


def sync(descriptor: int) -> None:
    """Return when the file's bytes would survive a power cut."""
    os.fsync(descriptor)


def rename(source: Path, target: Path) -> None:
    """Put a file in another's place, in one step."""
    os.replace(source, target)


def remove(path: Path) -> None:
    """Take a name away; who has the file open keeps it."""
    path.unlink(missing_ok=True)


def sync_folder(path: Path) -> None:
    """Return when the names in a folder would survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_DIRECTORY", 0))
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def touch(descriptor: int) -> None:
    """Set a file's times to now."""
    os.utime(descriptor)


def lock(path: Path) -> int | None:
    """The one descriptor of a file that no other holder has; None where another has it.

    The lock is the kernel's: it ends with the descriptor, so a killed process leaves none behind. A holder
    may remove the file; who comes then takes the lock of the new one.

    Raises:
        OSError: the file cannot be made, or the system has no such locks.
    """
    if fcntl is None:  # pragma: no cover - not a POSIX system
        raise OSError("this system has no POSIX file locks")
    while True:
        descriptor = create(path)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if is_still(descriptor, path):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            return None
        except BaseException:  # also on an interrupt: a descriptor must not leak
            os.close(descriptor)
            raise
        os.close(descriptor)


def is_still(descriptor: int, path: Path) -> bool:
    """Whether the name still leads to the file that is open."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except FileNotFoundError:
        return False


@contextmanager
def whole_file(temporary: Path, target: Path) -> Iterator[int]:
    """A descriptor to write to; the file appears as `target` at the end, synced, or not at all.

    For one writer at a time. After it a file survives a power cut; when it raises, or the process is killed,
    whatever was there before is still there.
    """
    remove(temporary)  # of a writer that was killed
    try:
        descriptor = create(temporary)
        try:
            yield descriptor
            sync(descriptor)
        finally:
            os.close(descriptor)
        rename(temporary, target)
    except BaseException:  # also on an interrupt: nothing half-made stays
        with suppress(OSError):
            remove(temporary)
        raise
    sync_folder(target.parent)
