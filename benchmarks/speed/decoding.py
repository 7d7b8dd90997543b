"""Measure G1: decode one frame a second, in part, against PyAV decoding everything.

torchcodec is a second peer where it can be imported; it needs FFmpeg's own libraries beside it.
"""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import av
import torch

from benchmarks.speed.result import Figure
from bvllm.common.threads import one_kernel_thread
from bvllm.video import SamplingPlan, read_video
from bvllm.video.frames import resize, to_planes

SIZE = (224, 224)
LATE = 1e-6  # seconds by which a time may miss its target through rounding
TARGETS = {True: 1.4, False: 1.3}  # 720 lines and more, or fewer
TWO_THREADS = 1.9
TORCHCODEC_THREADS = (1, 0)  # 0: as many as FFmpeg likes
TORCHCODEC_FRAMES = 16  # at a time: whole pictures of minutes would not fit


def decoding(video: Path, name: str, rounds: int) -> list[Figure]:
    """CPU time on one thread and wall time on two, against the plain way's one thread, taking turns.

    Where torchcodec is installed it takes turns as well, on one thread and on as many as it likes.
    """
    works = {
        "plain": lambda: _plain(video),
        "ours": lambda: _ours(video, 1),
        "two_threads": lambda: _ours(video, 2),
    }
    if _has_torchcodec():
        works |= {f"torchcodec_{n}": partial(_torchcodec, video, n) for n in TORCHCODEC_THREADS}
    with one_kernel_thread():  # as the engine resizes
        turns = [{way: _timed(work) for way, work in works.items()} for _ in range(rounds)]
    with read_video(video) as stream:
        tall = stream.info.height >= 720
    details: dict[str, float | str | bool] = {}
    for way in works:
        details[f"{way}_s"] = median(turn[way].cpu for turn in turns)
        details[f"{way}_wall_s"] = median(turn[way].wall for turn in turns)
    details["same_pixels"] = len({turn[way].found for turn in turns for way in list(works)[:3]}) == 1
    on_one = median(turn["plain"].cpu / turn["ours"].cpu for turn in turns)
    on_two = median(turn["plain"].wall / turn["two_threads"].wall for turn in turns)
    what = "frames at 1 fps"
    figures = [
        Figure("G1", f"{what}, 1 thread ({name})", on_one, TARGETS[tall], details=details),
        Figure(
            "G1",
            f"{what}, 2 threads, against the plain way on 1 ({name})",
            on_two,
            TWO_THREADS,
            details=details,
        ),
    ]
    if "torchcodec_1" in works:
        single = median(turn["torchcodec_1"].cpu / turn["ours"].cpu for turn in turns)
        best = median(
            min(turn[f"torchcodec_{n}"].wall for n in TORCHCODEC_THREADS) / turn["two_threads"].wall
            for turn in turns
        )
        figures += [
            Figure("G1", f"{what}, 1 thread, against torchcodec ({name})", single, 1.35),
            Figure("G1", f"{what}, 2 threads, against torchcodec's best ({name})", best, 1.8),
        ]
    return figures


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


def _has_torchcodec() -> bool:
    try:
        import torchcodec.decoders  # noqa: F401 (only whether it is there)
    except (
        ImportError,
        OSError,
        RuntimeError,
    ):  # without FFmpeg's libraries it raises what its loader raised
        return False
    return True


def _torchcodec(video: Path, threads: int) -> str:
    """The frames that are shown at the full seconds, some at a time; resized as ours are."""
    from torchcodec.decoders import VideoDecoder

    decoder, digest = VideoDecoder(str(video), num_ffmpeg_threads=threads), hashlib.sha256()
    begin, end = decoder.metadata.begin_stream_seconds, decoder.metadata.end_stream_seconds
    seconds = [begin + k + LATE for k in range(int(end - begin - LATE) + 1)]
    for start in range(0, len(seconds), TORCHCODEC_FRAMES):
        for frame in decoder.get_frames_played_at(seconds[start : start + TORCHCODEC_FRAMES]).data:
            _add(digest, resize(frame, SIZE))
    return digest.hexdigest()


def _add(digest: "hashlib._Hash", picture: torch.Tensor) -> None:
    digest.update(picture.contiguous().numpy())


@dataclass(frozen=True)
class _Timed:
    """CPU and wall seconds of some work, and what came of it."""

    cpu: float
    wall: float
    found: str


def _timed(work: Callable[[], str]) -> _Timed:
    cpu, wall = time.process_time(), time.perf_counter()
    found = work()
    return _Timed(time.process_time() - cpu, time.perf_counter() - wall, found)
