"""Stop work that nobody waits for any more: the one who works asks, at points where stopping is safe.

    with cancellation.during():      # in the thread that works
        work()                       # check() below it raises Cancelled once cancel() was called elsewhere

What is being waited for outside of Python (a decoder in another process) is ended by `when_cancelled`.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar


class Cancelled(Exception):
    """The work was given up; `reason` is the word that `cancel` was called with."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Cancellation:
    """Whether a piece of work is to be given up; any thread may say so.

    Example:
        >>> cancellation = Cancellation()
        >>> cancellation.cancel("deadline"), cancellation.reason
        (None, 'deadline')
    """

    def __init__(self) -> None:
        self.reason: str | None = None
        self._lock = threading.Lock()
        self._enders: list[Callable[[], object]] = []

    def cancel(self, reason: str) -> None:
        """Give the work up; the first reason stays."""
        with self._lock:
            self.reason = self.reason or reason
            enders = tuple(self._enders)
        for end in enders:
            end()

    def check(self) -> None:
        """Go on, unless the work was given up.

        Raises:
            Cancelled: it was.
        """
        if self.reason is not None:
            raise Cancelled(self.reason)

    @contextmanager
    def during(self) -> Iterator[None]:
        """Let `check` and `when_cancelled` in this block mean this cancellation."""
        before = _CURRENT.set(self)
        try:
            yield
        finally:
            _CURRENT.reset(before)

    @contextmanager
    def ending(self, end: Callable[[], object]) -> Iterator[None]:
        """Call `end`, from whichever thread cancels, if that happens during this block."""
        with self._lock:
            self._enders.append(end)
        try:
            if self.reason is not None:
                end()
            yield
        finally:
            with self._lock:
                self._enders.remove(end)


_CURRENT: ContextVar[Cancellation | None] = ContextVar("cancellation", default=None)


def current() -> Cancellation | None:
    """The cancellation that the present work belongs to; None where nobody can give it up."""
    return _CURRENT.get()


def check() -> None:
    """Go on, unless the present work was given up; costs next to nothing where nobody can."""
    cancellation = _CURRENT.get()
    if cancellation is not None:
        cancellation.check()


@contextmanager
def when_cancelled(end: Callable[[], object]) -> Iterator[None]:
    """Call `end` if the present work is given up during this block.

    Raises:
        Cancelled: it was, whatever the block made of it.
    """
    cancellation = _CURRENT.get()
    if cancellation is None:
        yield
        return
    try:
        with cancellation.ending(end):
            yield
    except Exception:  # what an ended helper looks like to the one who waited for it
        cancellation.check()
        raise
    cancellation.check()
