"""A stopwatch that stands still while the consumer of the frames is at work."""

import time


class Clock:
    """Runs from the start; `pause` and `resume` it.

    Example:
        >>> clock = Clock()
        >>> clock.pause()
        >>> clock.seconds() == clock.seconds()
        True
    """

    def __init__(self) -> None:
        self._spent = 0.0
        self._since: float | None = time.monotonic()

    def seconds(self) -> float:
        """Time that ran so far."""
        running = 0.0 if self._since is None else time.monotonic() - self._since
        return self._spent + running

    def pause(self) -> None:
        """Stands still from now on."""
        self._spent, self._since = self.seconds(), None

    def resume(self) -> None:
        """Runs again."""
        self._spent, self._since = self.seconds(), time.monotonic()
