"""Read a file that is still being written, once, to wherever it ends: as `tail -f` does.

Who asks for more bytes than there are waits for them. So nothing is read twice and nothing that is half
written is ever decoded, however long the recording runs.
"""

import io
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import BinaryIO, cast

from .errors import VideoError
from .limits import Limits
from .mp4_growing import WholeBoxes
from .safe_open import NamelessReader, View, check_size, open_source

HEAD_BYTES = 1024  # enough to tell what a file is


class Abandoned(Exception):
    """Reading a growing file was stopped by the caller."""


class GrowingFile:
    """A file and the patience to wait for more of it; it can be read once.

    Containers that can be read before they are finished: MPEG-TS, Matroska and WebM, FLV, fragmented MP4.

    Args:
        path: the file; it may not be there yet.
        poll_seconds: time between two checks of its size.
        patience_seconds: without growth, the file counts as finished.
        until: called before each check; True ends the reading with `Abandoned`.

    Attributes:
        finished: there will be no more.
        waited: seconds that were spent waiting.

    Raises:
        Abandoned: `until` returned True.
        VideoError: while it is read, as for `read_video`; of kind "changed" where the file has shrunk.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        poll_seconds: float = 1.0,
        patience_seconds: float = 10.0,
        until: Callable[[], bool] = lambda: False,
    ) -> None:
        self.path = path
        self.finished = False
        self.waited = 0.0
        self._poll, self._patience, self._until = poll_seconds, patience_seconds, until
        self._size, self._grown = 0, math.nan
        self._file: BinaryIO | None = None

    @property
    def size(self) -> int:
        """Size in bytes at the last check."""
        return self._size

    def waiting(self) -> Callable[[], float]:
        """A function that gives the seconds that were spent waiting since now."""
        before = self.waited
        return lambda: self.waited - before

    def open(self, limits: Limits) -> BinaryIO:
        """The file, once there is enough in it to tell what it is; unbuffered, since headers are patched.

        Raises:
            VideoError: as for `open_source`.
            Abandoned: the following was given up.
        """
        self._file = None  # by its name, until it is open
        while self._size < HEAD_BYTES and not self.finished:
            self.wait(limits)
        buffered = cast(io.BufferedReader, open_source(self.path, limits))  # it is a path
        self._file = cast(BinaryIO, buffered.detach())
        return self._file

    def wait(self, limits: Limits) -> None:
        """Returns once there is more than there was, or the file is finished."""
        before = self._size
        while self._size == before and not self.finished:
            self.poll(limits)

    def poll(self, limits: Limits) -> None:
        """Check the file's size, and pause where it has not grown: its bytes may still have changed."""
        started, before = time.monotonic(), self._size
        try:
            if self._until():
                raise Abandoned
            self._check_size(limits)
            if self._size == before and not self.finished:
                time.sleep(self._poll)
        finally:
            self.waited += time.monotonic() - started

    def _check_size(self, limits: Limits) -> None:
        now = self._now()
        if now < self._size:
            raise VideoError(
                "changed", f"file must only grow, got {now} bytes after {self._size}: follow the new one"
            )
        if now > self._size or math.isnan(self._grown):
            if now:
                check_size(now, limits)
            self._size, self._grown = now, time.monotonic()
        elif time.monotonic() - self._grown >= self._patience:
            self.finished = True

    def _now(self) -> int:
        """Bytes that are there; of the file that is open, whatever its name leads to by now."""
        try:
            named = os.stat(self.path)
        except OSError:  # not there yet, or not any more
            named = None
        if self._file is None or self._file.closed:
            return 0 if named is None else named.st_size
        held = os.fstat(self._file.fileno())
        if named is not None and not os.path.samestat(held, named):
            raise VideoError("changed", "file must stay the one it was, got another: follow the new one")
        return held.st_size


class GrowingReader(NamelessReader):
    """Reads a growing file in order, and gives of an mp4 only what its boxes were checked for.

    It cannot seek, so that FFmpeg does not go to the end to see how long the video is.

    Args:
        is_mp4: give whole boxes only.
    """

    def __init__(
        self, growing: GrowingFile, file: BinaryIO, lock: Lock, limits: Limits, *, is_mp4: bool
    ) -> None:
        super().__init__(View(file, lock))
        self._growing = growing
        self._limits = limits
        self._whole = WholeBoxes(View(file, lock)) if is_mp4 else None

    def seekable(self) -> bool:
        """Never; PyAV asks."""
        return False

    def read(self, size: int) -> bytes:
        """At least a byte, as soon as there is one; none at the end of the finished file."""
        if self.caught is not None:
            return b""
        try:
            while (room := self._readable() - self._file.tell()) <= 0 and not self._growing.finished:
                self._growing.poll(self._limits)
            data = self._file.read(max(0, min(size, room)))
            if room > 0 and not data:
                raise VideoError("changed", "file must only grow, got one that shrank: follow the new one")
            return data
        except BaseException as error:  # raised again by `check`, from where it has a type
            self.caught = error
            return b""

    def _readable(self) -> int:
        """Bytes from the beginning that FFmpeg may see by now."""
        size = self._growing.size
        return size if self._whole is None else self._whole.within(size, last=self._growing.finished)
