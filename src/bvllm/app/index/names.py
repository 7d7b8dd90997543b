"""The names in an index folder, and holding one of them for writing."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bvllm.app.index import disk
from bvllm.app.index.commit import JOURNAL, TEMPORARY
from bvllm.app.index.contents import LOG, NEW_LOG
from bvllm.app.index.layout import SUFFIX

OURS = re.compile("[0-9a-f]{64}(" + "|".join(map(re.escape, (SUFFIX, JOURNAL, TEMPORARY))) + ")")


def files_of(folder: Path, suffix: str) -> list[Path]:
    """Regular files whose name is a key with this suffix, in order of their names."""
    return [path for path in _regular(folder) if path.suffix == suffix and OURS.fullmatch(path.name)]


def strangers_of(folder: Path) -> list[Path]:
    """Whatever else lies in the folder."""
    with suppress(FileNotFoundError, NotADirectoryError):
        known = {*_regular(folder)}
        return sorted(p for p in folder.iterdir() if p not in known or not _ours(p.name))
    return []


def _ours(name: str) -> bool:
    return name in (LOG, NEW_LOG) or OURS.fullmatch(name) is not None


def _regular(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as found:
            return sorted(folder / entry.name for entry in found if entry.is_file(follow_symlinks=False))
    except (FileNotFoundError, NotADirectoryError):
        return []


@contextmanager
def holding(folder: Path, name: str) -> Iterator[int | None]:
    """The journal of a key, locked, until the end of the block; None where another has it.

    Everything that changes a key's files happens in here. A journal that is empty in the end is removed.

    Errors:
        OSError where the folder cannot be written to.
    """
    journal = folder / (name + JOURNAL)
    descriptor = disk.lock(journal)
    if descriptor is None:
        yield None
        return
    try:
        yield descriptor
    finally:
        with suppress(OSError):
            # Ours only: where the name is gone, another writer may have it by now.
            if not os.fstat(descriptor).st_size and disk.is_still(descriptor, journal):
                disk.remove(journal)
        os.close(descriptor)
