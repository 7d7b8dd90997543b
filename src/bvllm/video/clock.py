"""A stopwatch that stands still while the consumer of the frames is at work."""

import time
from collections.abc import Callable


class Clock:
    """Runs from the start; `pause` and `resume` it in one thread, read it in any.

    Args:
        idle: seconds that passed while it ran, but do not count.

    Example:
        >>> clock = Clock()
        >>> clock.pause()
        >>> clock.seconds() == clock.seconds()
        True
    """

    def __init__(self, idle: Callable[[], float] = lambda: 0.0) -> None:
        self._idle = idle
        self._state: tuple[float, float | None] = 0.0, time.monotonic()  # spent before, running since

    def seconds(self) -> float:
        """Time that ran so far."""
        return self._running() - self._idle()

    def _running(self) -> float:
        spent, since = self._state
        return spent if since is None else spent + time.monotonic() - since

    def pause(self) -> None:
        """Stands still from now on."""
        self._state = self._running(), None

    def resume(self) -> None:
        """Runs again."""
        self._state = self._running(), time.monotonic()
