"""Write folders that are complete or do not count: another name, sync, mark, rename.

A folder counts where `COMPLETE.json` lists every file with its size and SHA-256, and all of it is true. So a
kill at any moment, a full disk or a flipped bit leaves the folder before it as the newest one that counts.
"""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

MARK = "COMPLETE.json"
PREFIX = "checkpoint-"
UNFINISHED, DYING = ".writing-", ".removing-"


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """A folder to write into; it appears under its own name when everything in it is on the disk.

    What stood there before is replaced. Where the block raises, nothing changes and nothing is left behind.

    Example:
        >>> import tempfile
        >>> place = Path(tempfile.mkdtemp()) / "checkpoint-1"
        >>> with atomic_folder(place) as inside:
        ...     _ = (inside / "note.txt").write_text("done")
        >>> damage(place) is None, sorted(os.listdir(place))
        (True, ['COMPLETE.json', 'note.txt'])
    """
    temporary = folder.with_name(UNFINISHED + folder.name)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        _seal(temporary)
        if folder.exists():
            remove(folder)
        os.rename(temporary, folder)
        _sync(folder.parent)
    except BaseException:  # whatever it was, Ctrl-C too: nothing half-written stays
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def check_complete(folder: Path) -> None:
    """Refuse a folder that is damaged or gone.

    Raises:
        OSError: which names the file.
    """
    wrong = damage(folder) if folder.is_dir() else "it is gone"
    if wrong is not None:
        raise OSError(f"checkpoint {folder.name} must be whole, got one that is not: {wrong}")


def damage(folder: Path) -> str | None:
    """What is wrong with a folder, in one line that names the file; None where nothing is."""
    try:
        listed = json.loads((folder / MARK).read_text(encoding="utf-8"))["files"]
        for name, told in listed.items():
            file = folder / name
            if not file.is_file():
                return f"{name} is missing"
            if file.stat().st_size != told["bytes"]:
                return f"{name} has {file.stat().st_size} bytes instead of {told['bytes']}"
            if _sha256(file) != told["sha256"]:
                return f"{name} is not what was written"
    except FileNotFoundError:
        return f"{MARK} is missing"
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"{MARK} cannot be read"
    except OSError as error:
        return f"{error.filename or folder.name} cannot be read: {error.strerror}"
    return None


def is_complete(folder: Path) -> bool:
    """True if every file that the folder lists is there, unchanged."""
    return damage(folder) is None


def newest(place: Path, warn: Callable[[str], None]) -> Path | None:
    """The checkpoint of the latest step that counts.

    Args:
        place: folder of the stage.
        warn: called with one line for every later one that is damaged.
    """
    for folder in reversed(checkpoints(place)):
        wrong = damage(folder)
        if wrong is None:
            return folder
        warn(f"{folder.name} is damaged and will not be used: {wrong}")
    return None


def checkpoints(place: Path) -> list[Path]:
    """Folders named as checkpoints, by step."""
    found = [p for p in place.glob(PREFIX + "*") if p.name.removeprefix(PREFIX).isdecimal()]
    return sorted(found, key=step_of)


def step_of(folder: Path) -> int:
    """The optimizer step in a checkpoint's name."""
    return int(folder.name.removeprefix(PREFIX))


def remove(folder: Path) -> None:
    """Delete a folder; a kill half-way leaves nothing that looks like one."""
    dying = folder.with_name(DYING + folder.name)
    shutil.rmtree(dying, ignore_errors=True)
    os.rename(folder, dying)
    shutil.rmtree(dying, ignore_errors=True)


def clean(place: Path) -> None:
    """Remove what a killed run left half-written or half-removed."""
    for pattern in (UNFINISHED, DYING):
        for folder in place.glob(pattern + "*"):
            shutil.rmtree(folder, ignore_errors=True)


def write_whole_file(path: Path, text: str) -> None:
    """Replace a small file at once: a reader sees the old text or the new one."""
    temporary = path.with_name(UNFINISHED + path.name)
    temporary.write_text(text, encoding="utf-8")
    _sync(temporary)
    os.replace(temporary, path)
    _sync(path.parent)


def _seal(folder: Path) -> None:
    """Everything to the disk, then the mark."""
    listed = {}
    for file in sorted(p for p in folder.rglob("*") if p.is_file()):
        _sync(file)
        listed[file.relative_to(folder).as_posix()] = {"bytes": file.stat().st_size, "sha256": _sha256(file)}
    for inner in [p for p in folder.rglob("*") if p.is_dir()]:
        _sync(inner)
    mark = folder / MARK
    mark.write_text(json.dumps({"files": listed}, indent=1), encoding="utf-8")
    _sync(mark)
    _sync(folder)


def _sha256(file: Path) -> str:
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _sync(path: Path) -> None:
    """To the disk, not only to its cache."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # a file system that cannot sync folders
            raise
    finally:
        os.close(handle)
