"""Keep torch's kernels on one thread, and spread frames over several: the same numbers either way.

A matrix product that is cut among threads may add in another order, and the last bit of a score may decide
which of two like frames is chosen. So no product is cut; what runs in parallel are whole chunks of frames,
which is the faster way for small towers anyway.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from threading import Lock, Semaphore, local
from typing import TypeVar

import torch

# Lets as many threads work at once as it was made for, whatever they do.
CpuSlots = Semaphore
In = TypeVar("In")
Out = TypeVar("Out")


@contextmanager
def one_kernel_thread() -> Iterator[None]:
    """Run torch's CPU kernels on a single thread in this block; blocks may overlap between threads.

    Threads may overlap in any order, and one thread may nest. After the last has left, the setting of each
    thread that was in here, and the one that new threads start with, is what it was before.
    """
    _SETTING.enter()
    try:
        yield
    finally:
        _SETTING.leave()


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def map_in_order(work: Callable[[In], Out], items: Iterable[In], threads: int) -> Iterator[Out]:
    """`map` on several threads: results in the order of the items, at most one item waiting for each thread.

    One thread is the caller's own. The others keep to one kernel thread where the caller does, and are given
    up with it (`cancelling`).

    Example:
        >>> list(map_in_order(lambda x: x * x, range(4), threads=2))
        [0, 1, 4, 9]
    """
    if threads == 1:
        yield from map(work, items)
        return
    with ThreadPoolExecutor(threads, initializer=_SETTING.join if _HERE.depth else None) as pool:
        running: deque[Future[Out]] = deque()
        try:
            for item in items:
                running.append(pool.submit(copy_context().run, work, item))
                if len(running) > threads:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        finally:
            for future in running:
                future.cancel()


class _Here(local):
    """What the present thread has to remember."""

    depth = 0  # how often it is in `one_kernel_thread`
    before = 1  # its number of kernel threads outside


class _Setting:
    """torch's number of kernel threads, held at 1 for as long as anybody needs it there.

    With OpenMP, the usual build, `torch.set_num_threads` sets two things: the number of the calling thread,
    and the one that threads start with which have not used torch yet. Threads that have keep theirs. Other
    builds have one number for the process. So every block sets 1 for its own thread, and the first one keeps
    what new threads start with until the last one has left.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._holders = 0
        self._usual = 1  # what new threads start with outside of all blocks
        self._per_thread = "parallel backend: OpenMP" in torch.__config__.parallel_info()

    def enter(self) -> None:
        """Begin to keep the calling thread at 1."""
        with self._lock:
            if not _HERE.depth:
                own = torch.get_num_threads()
                if not self._holders:
                    self._usual = _in_new_thread(torch.get_num_threads)
                # A 1 among holders is most likely theirs: this thread has just used torch for the first time.
                _HERE.before = self._usual if self._holders and own == 1 else own
                self._holders += 1
                torch.set_num_threads(1)
            _HERE.depth += 1

    def leave(self) -> None:
        """Give the calling thread its number back, and new threads theirs once no other block is left."""
        with self._lock:
            _HERE.depth -= 1
            if _HERE.depth:
                return
            self._holders -= 1
            for_new = 1 if self._holders else self._usual
            if not self._per_thread:
                torch.set_num_threads(for_new)
                return
            torch.set_num_threads(_HERE.before)
            if for_new != _HERE.before:
                _in_new_thread(lambda: torch.set_num_threads(for_new))

    def join(self) -> None:
        """Keep a thread at 1 for all its life: that of a pool whose owner holds."""
        with self._lock:
            _HERE.depth += 1
            torch.get_num_threads()  # a thread's first call would undo what was set before it
            torch.set_num_threads(1)


def _in_new_thread(work: Callable[[], Out]) -> Out:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()


_HERE = _Here()
_SETTING = _Setting()
