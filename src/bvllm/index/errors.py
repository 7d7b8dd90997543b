"""Define the index's errors: one failure of the disk, and findings about single files."""

import errno
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal


class IndexFailure(OSError):
    """The index folder cannot be used as asked; the message is one line, what it held before still holds."""


class HeldElsewhere(IndexFailure):
    """Another process holds this video and does nothing; others can be indexed."""


class DamagedIndexWarning(UserWarning):
    """A file of the index was not what its name says; it is made again."""


FindingKind = Literal[
    "damaged",  # an entry whose bytes are not those that were written, or that belongs to another name
    "other_version",  # an entry that another version of bvllm wrote; never touched
    "unreadable",  # an entry that the system does not let us read
    "partial",  # a video whose indexing was stopped and can go on
    "leftover",  # a file that a writer left behind when it was killed
    "over_limit",  # the least recently used entries above the size limit
    "unknown",  # a file that is none of ours; never touched
    "busy",  # a video that another process is indexing: we wait for it
]


@dataclass(frozen=True)
class FolderFault:
    """One file of an index folder that is not a sound entry, was removed, or is waited for.

    Attributes:
        kind: what it is.
        name: of the file, inside the folder.
        bytes: its size.
        why: one line for a person.
    """

    kind: FindingKind
    name: str
    bytes: int
    why: str


Tell = Callable[[FolderFault], None]


def warn(finding: FolderFault) -> None:
    """Report a fault as a Python warning: the default of `IndexFolder(tell=)`."""
    kind = UserWarning if finding.kind in ("over_limit", "busy") else DamagedIndexWarning
    warnings.warn(f"index entry {finding.name}: {finding.why}", kind, stacklevel=2)


NO_ROOM = {errno.ENOSPC, errno.EDQUOT}
NO_FILES = {errno.EMFILE, errno.ENFILE}
READ_ONLY = {errno.EROFS, errno.EACCES, errno.EPERM}
NO_FOLDER = {errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG}


@contextmanager
def failing_clearly() -> Iterator[None]:
    """Whatever the system says in here becomes an IndexFailure with one line."""
    try:
        yield
    except IndexFailure:
        raise
    except OSError as error:
        raise IndexFailure(f"index folder must {_said(error)}") from error


def _said(error: OSError) -> str:
    where = f"{str(error.filename)!r}" if error.filename else "one that does not"
    if error.errno in NO_ROOM:
        return "have room, got a full disk: free some space, or choose another folder"
    if error.errno == errno.EFBIG:
        return "take large files, got a limit on file size: raise it (ulimit -f)"
    if error.errno in READ_ONLY:
        return f"be writable, got no permission for {where}: choose another folder"
    if error.errno in NO_FOLDER:
        return f"be a folder, got {where}: choose another folder"
    return (
        f"be usable, got {error.strerror or type(error).__name__}: check the disk, or choose another folder"
    )
