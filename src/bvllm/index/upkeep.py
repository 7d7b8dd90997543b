"""Check, prune and limit the files of an index folder."""

import os
import re
from contextlib import suppress
from pathlib import Path

from bvllm.index import disk
from bvllm.index.commit import JOURNAL, TEMPORARY
from bvllm.index.entry import SUFFIX, DamageFound, OtherVersion
from bvllm.index.errors import FindingKind, FolderFault
from bvllm.index.hashes import LOG, NEW_LOG
from bvllm.index.mapped import open_entry, summarise
from bvllm.index.writer_lock import holding

OURS = re.compile("[0-9a-f]{64}(" + "|".join(map(re.escape, (SUFFIX, JOURNAL, TEMPORARY))) + ")")


def check(folder: Path) -> list[FolderFault]:
    """Everything in the folder that is not a sound entry; every byte is read, nothing is changed."""
    found = [finding for path in files_of(folder, SUFFIX) if (finding := fault_of(path))]
    found += [finding_of("partial", path, "not finished, can go on") for path in files_of(folder, JOURNAL)]
    found += [finding_of("leftover", path, "not finished writing") for path in files_of(folder, TEMPORARY)]
    return found + [
        finding_of("unknown", path, "none of the index's files") for path in unknown_files(folder)
    ]


def prune(folder: Path, max_bytes: int) -> list[FolderFault]:
    """Remove what is damaged, unfinished or above the limit; what is being written stays.

    Returns:
        What was removed.

    Raises:
        OSError: the folder cannot be written to.
    """
    found = [
        f
        for f in check(folder)
        if f.kind not in ("unknown", "unreadable", "other_version") and remove(folder, f)
    ]
    return found + make_room(folder, max_bytes)


def make_room(folder: Path, max_bytes: int, *, spare: str = "") -> list[FolderFault]:
    """Remove what was not used for the longest time, until the folder is within its limit.

    Args:
        spare: name of a key that stays.

    Returns, errors: as for `prune`.
    """
    aged = []
    for path in [*files_of(folder, SUFFIX), *files_of(folder, JOURNAL)]:
        with suppress(FileNotFoundError):
            status = path.lstat()
            aged.append((status.st_mtime_ns, status.st_size, path))
    excess = sum(size for _, size, _ in aged) - max_bytes
    removed = []
    for _, size, path in sorted(aged):
        if excess <= 0:
            break
        finding = finding_of("over_limit", path, "above the size limit, and not used for the longest time")
        if path.stem != spare and not _is_of_another_version(path) and remove(folder, finding):
            removed.append(finding)
            excess -= size
    return removed


def _is_of_another_version(path: Path) -> bool:
    if path.suffix == SUFFIX:
        with suppress(OSError, DamageFound):
            try:
                summarise(path)
            except OtherVersion:
                return True
    return False


def sweep(folder: Path) -> None:
    """Remove files of killed writers that cannot be continued."""
    with suppress(OSError):  # what belongs to others is theirs to remove
        for path in files_of(folder, TEMPORARY):
            remove(folder, finding_of("leftover", path, "its writer is gone"))
        for path in files_of(folder, JOURNAL):
            drop_needless(path)


def drop_needless(journal: Path) -> None:
    """Remove a journal that holds nothing, or whose entry is there: its writer was killed just then.

    Raises:
        OSError: the folder cannot be written to.
    """
    if _is_needless(journal):
        with holding(journal.parent, journal.stem) as descriptor:
            if descriptor is not None and _is_needless(journal):
                disk.remove(journal)


def _is_needless(journal: Path) -> bool:
    entry = journal.with_suffix(SUFFIX)
    try:
        return not journal.lstat().st_size or (entry.exists() and fault_of(entry) is None)
    except FileNotFoundError:
        return False


def remove(folder: Path, finding: FolderFault) -> bool:
    """Take a file away, unless another is writing its key, or has put a sound entry there meanwhile."""
    path = folder / finding.name
    with holding(folder, path.stem) as descriptor:
        if descriptor is None or (finding.kind == "damaged" and fault_of(path) is None):
            return False
        disk.remove(path)
    return True


def fault_of(path: Path) -> FolderFault | None:
    """What is wrong with an entry, if anything is."""
    try:
        open_entry(path)
    except FileNotFoundError:
        return None
    except DamageFound as damage:
        return finding_of(kind_of(damage), path, str(damage))
    except OSError as error:
        return finding_of("unreadable", path, error.strerror or str(error))
    return None


def kind_of(damage: DamageFound) -> FindingKind:
    """Damage costs an entry its place; another version's entry keeps it."""
    return "other_version" if isinstance(damage, OtherVersion) else "damaged"


def finding_of(kind: FindingKind, path: Path, why: str) -> FolderFault:
    """A finding about a file that may be gone already."""
    size = 0
    with suppress(OSError):
        size = path.lstat().st_size
    return FolderFault(kind, path.name, size, why)


def files_of(folder: Path, suffix: str) -> list[Path]:
    """Regular files whose name is a key with this suffix, in order of their names."""
    return [path for path in _regular(folder) if path.suffix == suffix and OURS.fullmatch(path.name)]


def unknown_files(folder: Path) -> list[Path]:
    """Everything in the folder that is none of the index's files."""
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
