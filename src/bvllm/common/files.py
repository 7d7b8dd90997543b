"""Check where a file may be written before any long work, and write it whole or not at all."""

import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

SUFFIXES = (".html", ".png")
# Beside the weights of a model for which the steps of `--budget auto` were calibrated.
AUTO_BUDGET = "auto_budget.json"


def check_evidence_path(path: str | Path) -> Path:
    """The path, if evidence can be written there.

    Raises:
        ValueError: the suffix names no form of evidence, or the folder is missing or read-only.

    Example:
        >>> check_evidence_path("proof.html").name
        'proof.html'
    """
    target = Path(path)
    if target.suffix.lower() not in SUFFIXES:
        raise ValueError(
            f"evidence must end in {' or '.join(SUFFIXES)}, got {target.name!r}: rename the file"
        )
    if target.is_dir():
        raise ValueError(f"evidence must be a file, got the folder {str(target)!r}: add a file name to it")
    return check_folder_of(target, "evidence")


def check_folder_of(target: Path, what: str) -> Path:
    """The path, if a file can be made there; `what` is the word for it in the message."""
    if not target.parent.is_dir():
        raise ValueError(
            f"{what} must lie in a folder that is there, got {str(target)!r}: "
            f"make {str(target.parent)!r} first"
        )
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise ValueError(
            f"{what} must lie in a folder that can be written to, got {str(target)!r}: choose another folder"
        )
    return target


def replace_file(target: Path, data: bytes) -> None:
    """Write beside the target and rename, so that a reader never gets half a file."""
    beside = target.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        with beside.open("xb") as file:
            file.write(data)
        os.replace(beside, target)
    finally:
        beside.unlink(missing_ok=True)


def reason_of(error: OSError) -> str:
    """What the system said, as it stands in the middle of a message."""
    return (error.strerror or type(error).__name__).lower()


class NoTemporarySpace(OSError):
    """The folder for temporary files is full, or cannot be written to; the message names it."""


def temporary_file(prefix: str) -> FileIO:
    """An unbuffered file without a name, which vanishes with the process.

    Raises:
        NoTemporarySpace: it cannot be made.
    """
    with _naming_the_folder():
        return tempfile.TemporaryFile(prefix=prefix, buffering=0)  # the caller closes it


def write_all(file: FileIO, data: memoryview) -> None:
    """Write every byte to a temporary file.

    Raises:
        NoTemporarySpace: the disk is full.
    """
    with _naming_the_folder():
        while data:
            data = data[file.write(data) :]


@contextmanager
def _naming_the_folder() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise NoTemporarySpace(
            f"frames must fit into the temporary folder {tempfile.gettempdir()!r}, got: {reason_of(error)}: "
            "free some space, or set TMPDIR to another folder"
        ) from error
