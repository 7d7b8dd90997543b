"""What went wrong, as one line and an exit status."""

import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer


class WrongUse(typer.TyperException):
    """The command was used wrongly: exit status 2."""

    exit_code = 2


class Unanswerable(typer.TyperException):
    """The command was right, but its input cannot be answered: exit status 1."""

    exit_code = 1


class Stopped(typer.TyperException):
    """A signal ended the command where it can be taken up again: exit status 128 and the signal's number."""

    def __init__(self, message: str, signal: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal


def check_fps(fps: float) -> None:
    """Refuses a rate at which nothing can be looked at; to be called in `wrong_use`."""
    if not (fps > 0 and math.isfinite(fps)):
        raise ValueError(f"--fps must be above 0, got {fps:g}: 1 looks at one frame a second")


@contextmanager
def unwritten(file: Path) -> Iterator[None]:
    """An OSError in here is about a file that was to be written: said with its name."""
    try:
        yield
    except OSError as error:
        why = (error.strerror or type(error).__name__).lower()
        raise Unanswerable(
            f"{str(file)!r} must be written, got: {why}: free some space, or choose another place"
        ) from error


def note(what: object) -> None:
    """One line on stderr about something that stops nobody."""
    print("note: " + " ".join(str(what).split()), file=sys.stderr, flush=True)


@contextmanager
def wrong_use() -> Iterator[None]:
    """A ValueError raised in here is the user's: to be put around checks, never around the work itself."""
    try:
        yield
    except ValueError as error:
        raise WrongUse(str(error)) from error
