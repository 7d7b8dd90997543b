"""One piece of work at a time, beside whoever asked for it."""

from collections.abc import Callable
from threading import Thread


class Background:
    """Runs what it is given on a thread of its own, one after the other.

    The thread ends with the process: what is half-done when a process is told to end at once stays half-done.

    Example:
        >>> done = []
        >>> background = Background()
        >>> background.start(lambda: done.append(1))
        >>> background.wait()
        >>> done
        [1]
    """

    def __init__(self) -> None:
        self._thread: Thread | None = None
        self._error: BaseException | None = None

    def start(self, work: Callable[[], None]) -> None:
        """Begin, as soon as what was begun before has ended.

        Errors:
            Whatever the work before raised.
        """
        self.wait()
        self._thread = Thread(target=self._run, args=(work,), daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Return when nothing is being done.

        Errors:
            Whatever the work raised, once.
        """
        if self._thread is not None:
            self._thread.join()
        error, self._thread, self._error = self._error, None, None
        if error is not None:
            raise error

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # the caller's to handle: raised by the next `wait`
            self._error = error
