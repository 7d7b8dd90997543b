"""G1: frames at one a second, decoded in part, against PyAV decoding everything: the same frames?"""

import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import av
import torch

from bvllm.app.bench.result import Figure
from bvllm.video import SamplingPlan, read_video
from bvllm.video.frames import resize, to_planes

SIZE = (224, 224)
LATE = 1e-6  # seconds by which a time may miss its target through rounding
TARGETS = {True: 1.4, False: 1.3}  # 720 lines and more, or fewer
TWO_THREADS = 1.9


def decoding(video: Path, name: str, rounds: int) -> list[Figure]:
    """CPU time on one thread, and wall time of two threads against the plain way's one, taking turns."""
    cpu, wall, seen = [], [], set()
    took: dict[str, list[float]] = {"plain_s": [], "ours_s": [], "plain_wall_s": [], "two_threads_wall_s": []}
    for _ in range(rounds):
        plain = _timed(lambda: _plain(video))
        one = _timed(lambda: _ours(video, 1))
        two = _timed(lambda: _ours(video, 2))
        seen |= {plain[2], one[2], two[2]}
        cpu.append(plain[0] / one[0])
        wall.append(plain[1] / two[1])
        for key, value in zip(took, (plain[0], one[0], plain[1], two[1])):
            took[key].append(value)
    with read_video(video) as stream:
        tall = stream.info.height >= 720
    details: dict[str, float | str | bool] = {key: median(values) for key, values in took.items()}
    details["same_pixels"] = len(seen) == 1
    one, two = f"frames at 1 fps, 1 thread ({name})", f"frames at 1 fps, 2 threads against 1 ({name})"
    return [
        Figure("G1", one, median(cpu), TARGETS[tall], details=details),
        Figure("G1", two, median(wall), TWO_THREADS, details=details),
    ]


def _plain(video: Path) -> str:
    """PyAV, every frame decoded on one thread; those at the full seconds are resized as ours are."""
    digest, taken, first = hashlib.sha256(), 0, None
    with av.open(str(video)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        for frame in container.decode(stream):
            first = frame.time if first is None else first
            if frame.time - first >= taken - LATE:
                taken += 1
                _add(digest, resize(to_planes(frame.to_ndarray(format="rgb24")), SIZE))
    return digest.hexdigest()


def _ours(video: Path, threads: int) -> str:
    digest = hashlib.sha256()
    with read_video(video, SamplingPlan(fps=1.0), size=SIZE, threads=threads) as stream:
        for chunk in stream:
            for picture in chunk.pixels:
                _add(digest, picture)
    return digest.hexdigest()


def _add(digest: "hashlib._Hash", picture: torch.Tensor) -> None:
    digest.update(picture.contiguous().numpy())


def _timed(work: Callable[[], str]) -> tuple[float, float, str]:
    """CPU seconds, wall seconds, and what came of it."""
    cpu, wall = time.process_time(), time.perf_counter()
    found = work()
    return time.process_time() - cpu, time.perf_counter() - wall, found
