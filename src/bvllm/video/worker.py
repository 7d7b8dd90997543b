"""Decode one untrusted file in a forked process: what runs at the other end of `isolation`."""

import gc
import mmap
import os
import signal
import socket
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .errors import VideoError
from .fetch import fetch_frames
from .frames import resize
from .jobs import Job, receive_job
from .reader import read_video
from .sandbox import close_process, die_with_parent
from .wire import BUFFER_BYTES, say, say_with_arrays

MEMORY = "video must be decodable within the memory of a worker, got one that needs more: convert it first"


def serve(channel: socket.socket) -> None:
    """Fork a worker for each job, until the program closes its end; never returns."""
    try:
        die_with_parent()
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the program's to handle
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel buries workers
        torch.set_num_threads(1)
        resize(torch.zeros(3, 8, 8, dtype=torch.uint8), (4, 4))  # libraries ask once what processor this is
        gc.freeze()
        while True:
            word, fds, _, _ = socket.recv_fds(channel, 1, 3)
            if not word:
                break
            if not os.fork():
                channel.close()
                work(*fds)
            for fd in fds:
                os.close(fd)
    finally:
        os._exit(0)


def work(channel_fd: int, file_fd: int, memory_fd: int) -> None:
    """Do one job and end; never returns."""
    try:
        die_with_parent()
        channel = socket.socket(fileno=channel_fd)
        job = receive_job(channel)
        socket.send_fds(channel, [b"p"], [os.pidfd_open(os.getpid())])
        memory = mmap.mmap(memory_fd, BUFFER_BYTES)
        file = os.fdopen(file_fd, "rb")
        close_process()
        try:
            if job.packets:
                walk(channel, file, job)
            elif job.wanted is None:
                read(channel, memory, file, job)
            else:
                fetch(channel, memory, file, job)
        except VideoError as error:
            say(channel, error={"kind": error.kind, "text": str(error)})
        except ValueError as error:
            say(channel, error={"kind": "value", "text": str(error)})
        except MemoryError:
            say(channel, error={"kind": "limit", "text": MEMORY})
    except (OSError, EOFError):
        pass  # the program has gone, or closed its end
    finally:
        os._exit(0)


def read(channel: socket.socket, memory: mmap.mmap, file: Any, job: Job) -> None:
    decode: Any = job.decode
    with read_video(
        file, job.plan, job.limits, job.size, job.chunk, job.threads, decode=decode, first=job.first
    ) as video:
        say(channel, info=video.info.__dict__)
        for chunk in video:
            _hand_on(channel, memory, chunk.pixels, chunk.seconds.tolist())
        _wait(channel)
        report, frame_map = video.report, video.frame_map
    told = {**report.__dict__, "warnings": [warning.__dict__ for warning in report.warnings]}
    say_with_arrays(channel, None if frame_map is None else frame_map.to_arrays(), report=told)


def fetch(channel: socket.socket, memory: mmap.mmap, file: Any, job: Job) -> None:
    frames = fetch_frames(
        file,
        list(job.wanted or ()),
        job.frame_map,
        plan=job.plan,
        limits=job.limits,
        size=job.size,
        threads=job.threads,
    )
    step = max(1, BUFFER_BYTES // max(1, frames[0].numel()))
    for number, part in enumerate(torch.split(frames, step)):
        if number:
            _wait(channel)
        _write(channel, memory, part, [0.0] * len(part))
    _wait(channel)
    say(channel, done=True)


def walk(channel: socket.socket, file: Any, job: Job) -> None:
    from .inspection.packet_stats import packet_stats

    stats = packet_stats(file, job.limits)
    say_with_arrays(channel, stats.to_arrays(), stats=stats.summary())


def _hand_on(channel: socket.socket, memory: mmap.mmap, pixels: Tensor, seconds: Sequence[float]) -> None:
    """Put a chunk into the buffer once the one before was taken: the next is decoded meanwhile."""
    step = max(1, BUFFER_BYTES // max(1, pixels[0].numel()))
    for start in range(0, len(pixels), step):
        _wait(channel)
        _write(channel, memory, pixels[start : start + step], seconds[start : start + step])


def _write(channel: socket.socket, memory: mmap.mmap, pixels: Tensor, seconds: Sequence[float]) -> None:
    if pixels.numel() > BUFFER_BYTES:
        raise VideoError("limit", "a frame must fit into 256 MB, got a larger one: pass a size")
    view = torch.frombuffer(memory, dtype=torch.uint8, count=pixels.numel())
    view.copy_(pixels.reshape(-1))
    say(channel, shape=list(pixels.shape), seconds=list(seconds))


def _wait(channel: socket.socket) -> None:
    if not channel.recv(1):
        raise EOFError
