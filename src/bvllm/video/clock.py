"""A stopwatch that stands still while the consumer of the frames is at work."""

import time


class Clock:
    """Runs from the start; `pause` and `resume` it in one thread, read it in any.

    Example:
        >>> clock = Clock()
        >>> clock.pause()
        >>> clock.seconds() == clock.seconds()
        True
    """

    def __init__(self) -> None:
        self._state: tuple[float, float | None] = 0.0, time.monotonic()  # spent before, running since

    def seconds(self) -> float:
        """Time that ran so far."""
        spent, since = self._state
        return spent if since is None else spent + time.monotonic() - since

    def pause(self) -> None:
        """Stands still from now on."""
        self._state = self.seconds(), None

    def resume(self) -> None:
        """Runs again."""
        self._state = self.seconds(), time.monotonic()
