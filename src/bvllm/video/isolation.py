"""Decode videos in processes of their own, so that a crash, a hang or a bomb costs one error for one video.

    start_decoding_process()        # early: before torch runs a kernel, the process is forked once
    read_video("talk.mp4")          # from now on decoded elsewhere; as before for the caller

The forked process waits. For each video it forks a worker, which gets the open file, a shared buffer for
frames and a socket, closes itself (`sandbox`), and is killed when it takes too long. What a worker says is
untrusted: it is JSON and numbers, checked here, never a pickle. Paths only: bytes, file objects and growing
files are decoded in the caller's process.
"""

import fcntl
import json
import mmap
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from bvllm.common.cancelling import when_cancelled

from .errors import KINDS, VideoError
from .frame_map import FrameMap
from .frames import FrameChunk
from .jobs import Job, decode_in, decoding_process, send_job
from .reader import VideoStream
from .report import VideoInfo, VideoReport
from .safe_open import open_source
from .wire import BUFFER_BYTES, receive, receive_arrays
from .worker import serve

if TYPE_CHECKING:
    from .inspection.packet_stats import PacketStats

OPEN_SECONDS = 8.0  # to the first frame, by the wall clock
WALK_SECONDS = 120.0  # over all packets of a file
SILENT_SECONDS = 600.0  # between two chunks; `Limits.max_wall_seconds` bounds the whole
SUPPORTED = sys.platform == "linux" and hasattr(os, "memfd_create") and hasattr(os, "pidfd_open")
INFO, REPORT = TypeAdapter(VideoInfo), TypeAdapter(VideoReport)


class DecodingProcess:
    """The process that forks a worker for each video; one for the whole program."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self.pid = os.fork()
        if not self.pid:
            ours.close()
            serve(theirs)
        theirs.close()
        self._socket = ours
        self._lock = threading.Lock()

    def start(self, path: str | Path, job: Job) -> "Worker":
        """A worker for one job; errors of opening the file are raised here, by name."""
        with open_source(path, job.limits) as file:
            memory = os.memfd_create("frames", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            try:
                os.ftruncate(memory, BUFFER_BYTES)
                # A worker that cut the buffer short would end this process at its next read of it.
                seals = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW
                fcntl.fcntl(memory, fcntl.F_ADD_SEALS, seals)
                ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
                with theirs, self._lock:
                    try:
                        socket.send_fds(self._socket, [b"j"], [theirs.fileno(), file.fileno(), memory])
                    except OSError:
                        ours.close()
                        raise VideoError(
                            "io",
                            "the decoding process must be there, got one that ended: run the command again",
                        ) from None
                return Worker(ours, mmap.mmap(memory, BUFFER_BYTES), job)
            finally:
                os.close(memory)

    def read(self, path: str | Path, job: Job) -> "IsolatedStream":
        """`read_video` by a worker; errors as for it."""
        return IsolatedStream(self.start(path, job), job)

    def fetch(self, path: str | Path, job: Job) -> Tensor:
        """`fetch_frames` by a worker; errors as for it."""
        worker = self.start(path, job)
        try:
            parts = []
            while "shape" in (said := worker.message(SILENT_SECONDS)):
                parts.append(worker.frames(said).pixels)
            return torch.cat(parts)
        finally:
            worker.close()

    def packets(self, path: str | Path, job: Job) -> "PacketStats":
        """`packet_stats` by a worker; errors as for it."""
        from .inspection.packet_stats import PacketStats  # which knows this room

        worker = self.start(path, job)
        try:
            said = worker.message(WALK_SECONDS)
            return PacketStats.from_parts(said["stats"], worker.arrays(said) or {})
        except (KeyError, ValueError) as error:
            raise _died(error) from None
        finally:
            worker.close()

    def stop(self) -> None:
        """End the process and its workers."""
        self._socket.close()
        with suppress(ChildProcessError):
            os.waitpid(self.pid, 0)


def start_decoding_process() -> bool:
    """Decode paths in processes of their own from now on, in this program.

    To be called once, from the main thread (the process ends with the thread that started it), before torch
    has run a kernel: threads of a kernel do not survive the fork.

    Returns:
        Whether the system can do it (Linux); elsewhere everything is decoded in this process.
    """
    if SUPPORTED and decoding_process() is None:
        decode_in(DecodingProcess())
    return decoding_process() is not None


def stop_decoding_process() -> None:
    """Decode in this process again."""
    process = decoding_process()
    decode_in(None)
    if isinstance(process, DecodingProcess):
        process.stop()


class Worker:
    """The other end of one worker: its messages, checked."""

    def __init__(self, channel: socket.socket, memory: mmap.mmap, job: Job) -> None:
        self._channel, self._memory, self.job = channel, memory, job
        self._pidfd: int | None = None
        self._ending = threading.Lock()  # another thread may kill what this one is about to close
        try:
            send_job(channel, job)
            channel.settimeout(OPEN_SECONDS)
            _, fds, _, _ = socket.recv_fds(channel, 1, 1)
            self._pidfd = fds[0] if fds else None
        except OSError as error:
            self.close()
            raise _died(error) from None

    def message(self, seconds: float) -> dict[str, Any]:
        """The worker's next message.

        Raises:
            VideoError: the worker's own; or of kind "corrupt" where it crashed, "limit" where it was
                killed for its time or memory.
            Cancelled: the present work was given up (`bvllm.common.cancelling`).
        """
        try:
            self._channel.settimeout(seconds)
            with when_cancelled(self.kill):
                said = json.loads(receive(self._channel))
            if not isinstance(said, dict):
                raise ValueError
        except (OSError, ValueError, RecursionError) as error:
            self.close()
            raise _died(error) from None
        if "error" in said:
            self.close()
            raise _error_of(said["error"])
        return said

    def frames(self, said: dict[str, Any]) -> FrameChunk:
        """Copy a chunk out of the shared buffer, and let the worker go on."""
        try:
            shape = tuple(int(n) for n in said["shape"])
            seconds = torch.tensor([float(s) for s in said["seconds"]], dtype=torch.float64)
            count = prod(shape)
            size = self.job.size
            fits = len(shape) == 4 and shape[1] == 3 and min(shape) > 0 and count <= BUFFER_BYTES
            if not fits or len(seconds) != shape[0] or (size is not None and shape[2:] != size):
                raise ValueError
        except (KeyError, TypeError, ValueError, OverflowError):
            self.close()
            raise _died(ValueError()) from None
        pixels = torch.frombuffer(self._memory, dtype=torch.uint8, count=count).view(shape).clone()
        with suppress(OSError):  # it may have ended: its next message says so
            self._channel.sendall(b"n")
        return FrameChunk(pixels, seconds)

    def arrays(self, said: dict[str, Any]) -> dict[str, NDArray[np.int64]] | None:
        """Whole numbers that follow a message."""
        shapes = said.get("arrays")
        if shapes is None:
            return None
        try:
            return receive_arrays(self._channel, shapes)
        except (OSError, ValueError, TypeError, AttributeError) as error:
            self.close()
            raise _died(error) from None

    def kill(self) -> None:
        """End the worker from another thread: the one that waits for it finds it gone."""
        with self._ending:
            if self._pidfd is not None:
                with suppress(OSError):
                    signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def close(self) -> None:
        """End the worker, whatever it is doing."""
        self.kill()
        with self._ending:
            if self._pidfd is not None:
                os.close(self._pidfd)
                self._pidfd = None
        self._channel.close()


class IsolatedStream(VideoStream):
    """Frames that a worker decodes."""

    def __init__(self, worker: Worker, job: Job) -> None:
        self._worker, self._size, self._chunk = worker, job.size, job.chunk
        self._report = VideoReport()
        self._frame_map: FrameMap | None = None
        self._started = self._closed = False
        self._info: VideoInfo = _valid(INFO, self._worker.message(OPEN_SECONDS).get("info"))

    @property
    def info(self) -> VideoInfo:
        """What the video is."""
        return self._info

    @property
    def report(self) -> VideoReport:
        """What was read; there once everything was."""
        return self._report

    @property
    def frame_map(self) -> FrameMap | None:
        """As `VideoStream.frame_map`."""
        return self._frame_map

    def __iter__(self) -> Iterator[FrameChunk]:
        if self._started:
            raise VideoError(
                "usage", "a video stream must be read once, got a second loop: call read_video again"
            )
        self._started = True
        self._check_open()
        with suppress(OSError):
            self._worker._channel.sendall(b"n")
        while "shape" in (said := self._worker.message(SILENT_SECONDS)):
            yield self._worker.frames(said)
            self._check_open()
        self._report = _valid(REPORT, said.get("report"))
        arrays = self._worker.arrays(said)
        if arrays is not None:
            try:
                self._frame_map = FrameMap.from_arrays(arrays)
            except ValueError as error:
                raise _died(error) from None
        self._worker.close()

    def close(self) -> None:
        """End the worker."""
        self._closed = True
        self._worker.close()


def _died(error: Exception) -> VideoError:
    """What a worker's end means."""
    if isinstance(error, TimeoutError):
        return VideoError(
            "limit",
            f"video must open within {OPEN_SECONDS:g} s and go on, got one that does not: convert it first",
        )
    return VideoError("corrupt", "video must not crash its decoder, got one that does: convert it first")


def _error_of(said: Any) -> Exception:
    kind, text = (said.get("kind"), said.get("text")) if isinstance(said, dict) else (None, None)
    if not isinstance(text, str):
        return _died(ValueError())
    if kind == "value":
        return ValueError(text)
    return VideoError(kind, text) if kind in KINDS else _died(ValueError())


def _valid(adapter: "TypeAdapter[Any]", said: object) -> Any:
    try:
        return adapter.validate_python(said)
    except ValidationError:
        raise _died(ValueError()) from None
