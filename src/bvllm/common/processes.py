"""Run work in processes that end with their parent."""

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager

CANCELLING_SECONDS = 2.0  # it takes a few milliseconds


@contextmanager
def processes(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Fresh processes with one kernel thread each.

    Ctrl-C reaches the parent alone: an exception in this block ends the workers at once, and no worker prints
    a stack trace of theirs.

    Raises:
        ChildProcessError: a worker died by itself.
    """
    before = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_begin)
    try:
        with _deaf_to_interrupts():  # a process that is started now inherits it
            for _ in range(workers):
                pool.submit(os.getpid)
        yield pool
    except BaseException as error:  # Ctrl-C, too; everything is raised again
        manager = getattr(pool, "_executor_manager_thread", None)  # a shutdown without waiting forgets it
        pool.shutdown(wait=False, cancel_futures=True)
        _wait_for_the_cancelling(pool)
        for worker in set(multiprocessing.active_children()) - before:
            worker.terminate()
        if manager is not None:  # Python's exit would write into a pipe that this thread is closing
            manager.join(CANCELLING_SECONDS)
        if isinstance(error, BrokenProcessPool):
            raise ChildProcessError(
                "a worker process died, for lack of memory or since a script started workers outside of "
                "`if __name__ == '__main__':`: use fewer workers, or put the call there"
            ) from error
        raise
    pool.shutdown()


def _wait_for_the_cancelling(pool: ProcessPoolExecutor) -> None:
    """The pool's own thread lets go of what was cancelled, a moment after the call.

    If it found its workers dead before, it would call the cancelled work failed, and end in a stack trace.
    """
    deadline = time.monotonic() + CANCELLING_SECONDS
    while getattr(pool, "_cancel_pending_futures", False) and time.monotonic() < deadline:
        time.sleep(0.005)


def _begin() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ["OMP_NUM_THREADS"] = "1"  # read by a torch that is imported later
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


def _end_with_parent() -> None:
    """A parent that is killed tells nobody: its workers would wait for work for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None  # this is a worker
    parent.join()
    os._exit(1)


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # others may not touch signals
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
