"""What went wrong, as one line and an exit status."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer


class WrongUse(typer.TyperException):
    """The command was used wrongly: exit status 2."""

    exit_code = 2


class Unanswerable(typer.TyperException):
    """The command was right, but its input cannot be answered: exit status 1."""

    exit_code = 1


@contextmanager
def wrong_use() -> Iterator[None]:
    """A ValueError raised in here is the user's: to be put around checks, never around the work itself."""
    try:
        yield
    except ValueError as error:
        raise WrongUse(str(error)) from error
