"""The same numbers with any number of threads: kernels run on one, and frames are spread over several.

A matrix product that is cut among threads may add in another order, and the last bit of a score may decide
which of two like frames is chosen. So no product is cut; what runs in parallel are whole chunks of frames,
which is the faster way for small towers anyway.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from threading import Semaphore
from typing import TypeVar

import torch

# Lets as many threads work at once as it was made for, whatever they do.
Gate = Semaphore
In = TypeVar("In")
Out = TypeVar("Out")


@contextmanager
def one_kernel_thread() -> Iterator[None]:
    """Run torch's CPU kernels on a single thread in here."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def map_in_order(work: Callable[[In], Out], items: Iterable[In], threads: int) -> Iterator[Out]:
    """`map` on several threads: results in the order of the items, at most one item waiting for each thread.

    One thread is the caller's own.

    Example:
        >>> list(map_in_order(lambda x: x * x, range(4), threads=2))
        [0, 1, 4, 9]
    """
    if threads == 1:
        yield from map(work, items)
        return
    with ThreadPoolExecutor(threads) as pool:
        running: deque[Future[Out]] = deque()
        try:
            for item in items:
                running.append(pool.submit(work, item))
                if len(running) > threads:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        finally:
            for future in running:
                future.cancel()
