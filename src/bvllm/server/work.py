"""Run questions on a bounded number of threads, with a bounded queue, a deadline, an end for the unwanted."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

from bvllm.common.cancelling import Cancellation, Cancelled
from bvllm.server.errors import ApiError

Result = TypeVar("Result")
RETRY_SECONDS = 2


class WorkQueue:
    """Places for questions: so many run, so many wait, one more is refused.

    Args:
        running, waiting: how many of each.
        seconds: that a question may take from when it got its place.
    """

    def __init__(self, running: int, waiting: int, seconds: float) -> None:
        self._threads = ThreadPoolExecutor(running, thread_name_prefix="question")
        self._running_most, self._most, self._seconds = running, running + waiting, seconds
        self._tickets: set[Ticket] = set()
        self._draining = False
        self._lock = threading.Lock()
        self._working = 0

    @property
    def running(self) -> int:
        """Questions that are worked on."""
        return self._working

    @property
    def waiting(self) -> int:
        """Questions that have a place and are not worked on."""
        return max(0, len(self._tickets) - self._working)

    @property
    def accepting(self) -> bool:
        """Whether one more question would get a place."""
        return not self._draining and len(self._tickets) < self._most

    def enter(self) -> "Ticket":
        """A place for a question, to be left with `leave`.

        Raises:
            ApiError: there is none: 503 with Retry-After.
        """
        if self._draining:
            raise ApiError(503, "shutting_down", "the server is stopping: ask again in a moment", None, 5)
        if len(self._tickets) >= self._most:
            raise ApiError(
                503,
                "queue_full",
                f"at most {self._most} questions are taken at once, got one more: ask again in a moment",
                None,
                RETRY_SECONDS,
            )
        ticket = Ticket(self, self._seconds)
        self._tickets.add(ticket)
        return ticket

    def drain(self) -> None:
        """Take nothing new; what runs goes on."""
        self._draining = True

    def cancel_all(self, reason: str) -> None:
        """Give up whatever runs or waits."""
        for ticket in tuple(self._tickets):
            ticket.cancellation.cancel(reason)

    def close(self) -> None:
        """End the threads once they are idle."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _leave(self, ticket: "Ticket") -> None:
        self._tickets.discard(ticket)

    def _begin(self, change: int) -> None:
        with self._lock:
            self._working += change


class Ticket:
    """The place of one question."""

    def __init__(self, queue: WorkQueue, seconds: float) -> None:
        self._queue = queue
        self.cancellation = Cancellation()
        self._deadline = asyncio.get_running_loop().call_later(seconds, self.cancellation.cancel, "deadline")

    def leave(self) -> None:
        """Give the place back; once, or more often."""
        self._deadline.cancel()
        self._queue._leave(self)

    async def run(self, work: Callable[[], Result]) -> Result:
        """Run on a thread of the queue; the place is kept until the thread is done, however the waiting ends.

        Raises:
            Cancelled: the work was given up; and whatever it raises.
        """
        running = self._queue._threads.submit(self._work, work)
        waiting = asyncio.wrap_future(running)
        # One that still waits for a thread leaves the line at once.
        with self.cancellation.ending(running.cancel):
            try:
                return await asyncio.shield(waiting)
            except asyncio.CancelledError:
                if waiting.cancelled():
                    raise Cancelled(self.cancellation.reason or "cancelled") from None
                self.cancellation.cancel("client_gone")  # or the server stops hard
                with suppress(Exception, asyncio.CancelledError):  # what becomes of it interests nobody
                    await waiting
                raise

    def _work(self, work: Callable[[], Result]) -> Result:
        self.cancellation.check()
        self._queue._begin(1)
        try:
            with self.cancellation.during():
                return work()
        finally:
            self._queue._begin(-1)
