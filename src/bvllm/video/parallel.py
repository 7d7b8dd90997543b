"""Make pictures in several threads, and hand them on in order, few at a time."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from threading import Condition, Thread
from typing import Generic, Protocol, TypeVar

from torch import Tensor

Task = TypeVar("Task", contravariant=True)
# May be entered by many threads at once, of which it lets in as many as are to work: a semaphore.
CpuSlots = AbstractContextManager[object]
UNLIMITED: CpuSlots = nullcontext()
AHEAD = 2  # tasks in hand for each thread
HEAD_HOLDS = 2  # pictures of the task that is being handed on; more would only wait
MOST_BYTES = 128 << 20  # of pictures of later tasks; a single larger one is let through when its turn comes


class Worker(Protocol[Task]):
    """Makes the pictures of a task; lives in one thread."""

    def pictures(self, task: Task) -> Iterator[Tensor]:
        """The pictures of one task, in order."""

    def close(self) -> None:
        """Lets go of what it holds."""


class InOrder(Generic[Task]):
    """Iterates over the pictures of all tasks, in the order of the tasks, whichever thread made them.

    What goes wrong in a task is raised here after the pictures before it, as if there were one thread.

    Args:
        make: a worker for each thread; it gets a function that says whether to stop.
        cpu_slots: entered around the making of each picture, so that other work can take turns with it.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        make: Callable[[Callable[[], bool]], Worker[Task]],
        threads: int,
        cpu_slots: CpuSlots = UNLIMITED,
    ) -> None:
        self._tasks = tasks
        self._make = make
        self._cpu_slots = cpu_slots
        self._changed = Condition()
        self._begun = 0
        self._head = 0
        self._bytes = 0
        self._stopped = False
        self._ready: list[deque[Tensor]] = [deque() for _ in tasks]
        self._ends: dict[int, BaseException | None] = {}
        self._threads = [Thread(target=self._run, daemon=True) for _ in range(min(threads, len(tasks)))]
        self._window = AHEAD * len(self._threads)

    def __iter__(self) -> Iterator[Tensor]:
        try:
            for thread in self._threads:
                thread.start()
            while self._head < len(self._tasks):
                picture = self._next()
                if picture is not None:
                    yield picture
        finally:
            self.close()

    def close(self) -> None:
        """Stops the threads and waits for them: for as long as one packet takes."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()
        for pictures in self._ready:
            pictures.clear()

    def _next(self) -> Tensor | None:
        """The next picture, or None at the end of a task."""
        with self._changed:
            pictures = self._ready[self._head]
            while not pictures and self._head not in self._ends:
                self._changed.wait()
            if pictures:
                picture = pictures.popleft()
                self._bytes -= picture.nbytes
                self._changed.notify_all()
                return picture
            error = self._ends.pop(self._head)
            if error is not None:
                raise error
            self._head += 1
            self._changed.notify_all()
            return None

    def _run(self) -> None:
        worker = self._make(lambda: self._stopped)
        try:
            while (number := self._take()) is not None:
                error = self._work(worker, number)
                with self._changed:
                    self._ends[number] = error
                    self._changed.notify_all()
        finally:
            worker.close()

    def _work(self, worker: Worker[Task], number: int) -> BaseException | None:
        try:
            pictures = iter(worker.pictures(self._tasks[number]))
            while (picture := self._make_next(pictures)) is not None:
                if not self._put(number, picture):
                    break
        except BaseException as error:  # raised again where the pictures are handed on
            return error
        return None

    def _make_next(self, pictures: Iterator[Tensor]) -> Tensor | None:
        with self._cpu_slots:
            return next(pictures, None)

    def _take(self) -> int | None:
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or self._begun < self._head + self._window)
            if self._stopped or self._begun == len(self._tasks):
                return None
            self._begun += 1
            return self._begun - 1

    def _put(self, number: int, picture: Tensor) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or self._has_room(number, picture.nbytes))
            self._ready[number].append(picture)
            self._bytes += picture.nbytes
            self._changed.notify_all()
            return not self._stopped

    def _has_room(self, number: int, size: int) -> bool:
        if number == self._head:
            return len(self._ready[number]) < HEAD_HOLDS
        return self._bytes + size <= MOST_BYTES
