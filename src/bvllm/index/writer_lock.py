"""Lock a video for one writer at a time; the others wait while it shows activity."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread

from bvllm.index import disk
from bvllm.index.commit import JOURNAL
from bvllm.index.errors import HeldElsewhere

POLL_SECONDS = 0.1
HEARTBEAT_SECONDS = 2.0
SILENT_SECONDS = 30.0  # an active holder touches its log every HEARTBEAT_SECONDS


@contextmanager
def wait_for_lock(folder: Path, name: str, tell: Callable[[], None]) -> Iterator[int]:
    """Wait for the lock of a key; the journal, locked, until the end of the block.

    Args:
        tell: called once if another process holds the lock.

    Raises:
        HeldElsewhere: the holder showed no activity for SILENT_SECONDS: it was suspended, or hangs.
        OSError: the folder cannot be written to.
    """
    journal = folder / (name + JOURNAL)
    seen, silent = _state(journal), 0.0
    told = False
    while True:
        with holding(folder, name) as descriptor:
            if descriptor is not None:
                with _heartbeat(descriptor):
                    yield descriptor
                return
        if not told:
            tell()
            told = True
        started = time.monotonic()
        time.sleep(POLL_SECONDS)
        now = _state(journal)
        # Where we were suspended together with the holder, that was no silence.
        silent = 0.0 if now != seen else silent + min(time.monotonic() - started, 2 * POLL_SECONDS)
        seen = now
        if silent > SILENT_SECONDS:
            raise HeldElsewhere(
                f"video must not be locked by an inactive process, got one without activity for "
                f"{SILENT_SECONDS:.0f} s: resume it or end it"
            )


@contextmanager
def holding(folder: Path, name: str) -> Iterator[int | None]:
    """The journal of a key, locked, until the end of the block; None where another has it.

    Everything that changes a key's files happens in here. A journal that is empty in the end is removed.

    Raises:
        OSError: the folder cannot be written to.
    """
    journal = folder / (name + JOURNAL)
    descriptor = disk.lock(journal)
    if descriptor is None:
        yield None
        return
    try:
        yield descriptor
    finally:
        with suppress(OSError):
            # Ours only: where the name is gone, another writer may have it by now.
            if not os.fstat(descriptor).st_size and disk.is_still(descriptor, journal):
                disk.remove(journal)
        os.close(descriptor)


@contextmanager
def _heartbeat(descriptor: int) -> Iterator[None]:
    """Touch the journal every HEARTBEAT_SECONDS, so that waiting processes see that the holder works."""
    done = Event()

    def touch() -> None:
        while not done.wait(HEARTBEAT_SECONDS):
            with suppress(OSError):
                disk.touch(descriptor)

    thread = Thread(target=touch, daemon=True)
    try:
        thread.start()
        yield
    finally:
        done.set()
        if thread.is_alive():
            thread.join()  # before the descriptor may become another file's


def _state(journal: Path) -> tuple[int, int] | None:
    try:
        status = os.stat(journal)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size
