"""Check where a file may be written before any long work, and write it whole or not at all."""

import os
import secrets
from pathlib import Path

SUFFIXES = (".html", ".png")


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
