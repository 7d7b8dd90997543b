"""Time exact search over millions of frames that lie in files.

    python -m benchmarks.search [FRAMES ...]

Frames are drawn: scenes of 5 to 60 alike ones, scenes around topics, topics around a common mean, in videos
of an hour. Queries are topics with as much noise again, so that they lie apart from all frames, as words do.
The folder for the frames is that of `TMPDIR`.
"""

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bvllm.index import IndexedVideo, IndexKey
from bvllm.index.search.moments import NEAR_SECONDS, Moment, best_moments
from bvllm.index.search.scores import all_cosines

CHANNELS, VIDEO, QUERIES, TOP, TOPICS, BLOCK = 128, 3600, 15, 10, 2000, 20_000


class Drawn(NamedTuple):
    """Frames and what to ask about them."""

    videos: list[IndexedVideo]
    queries: Tensor


def main(counts: list[int]) -> None:
    for frames in counts:
        with tempfile.TemporaryDirectory() as folder:
            load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
            print(f"{frames} frames x {CHANNELS} float32, {torch.get_num_threads()} threads, load {load}")
            print(f"exact search {measure(draw(Path(folder) / 'frames', frames))}")


def measure(drawn: Drawn) -> str:
    """The medians of what a query takes."""
    videos, queries = drawn
    exact_moments(videos, queries[0])  # the file is in memory from here on, as far as there is room
    wall, cpu = [], []
    for query in queries:
        clock, process = time.perf_counter(), time.process_time()
        exact_moments(videos, query)
        wall.append(1000 * (time.perf_counter() - clock))
        cpu.append(1000 * (time.process_time() - process))
    return f"{median(wall):8.1f} ms a query, {median(cpu):.1f} ms of CPU"


def exact_moments(videos: list[IndexedVideo], query: Tensor) -> tuple[Moment, ...]:
    scores = all_cosines([video.features for video in videos], query)
    return best_moments(scores, [video.seconds.numpy() for video in videos], TOP, NEAR_SECONDS)


def draw(path: Path, frames: int) -> Drawn:
    """Frames in a file, mapped, cut into videos."""
    rng = np.random.default_rng(0)
    mean = rng.standard_normal(CHANNELS, dtype=np.float32)
    topics = rng.standard_normal((TOPICS, CHANNELS), dtype=np.float32)
    with path.open("wb") as file:
        for block in blocks(rng, topics, mean, frames):
            file.write(block.tobytes())
    mapped = torch.from_numpy(np.memmap(path, np.float32, "r+", shape=(frames, CHANNELS)))
    videos = [
        IndexedVideo(
            IndexKey(str(begin), "drawn", "drawn"),
            features,
            torch.arange(len(features), dtype=torch.float64),
            {},
            None,
            path,
            0,
        )
        for begin in range(0, frames, VIDEO)
        for features in [mapped[begin : begin + VIDEO]]
    ]
    chosen = topics[rng.choice(TOPICS, QUERIES, replace=False)]
    return Drawn(videos, torch.from_numpy(chosen + rng.standard_normal(chosen.shape, dtype=np.float32)))


def blocks(
    rng: np.random.Generator, topics: NDArray[np.float32], mean: NDArray[np.float32], frames: int
) -> Iterator[NDArray[np.float32]]:
    """Frames in order, scene by scene."""
    left = frames
    while left:
        lengths = rng.integers(5, 61, BLOCK // 20)
        scenes = topics[rng.integers(0, len(topics), len(lengths))]
        scenes = scenes + 0.7 * rng.standard_normal(scenes.shape, dtype=np.float32) + mean
        block = np.repeat(scenes, lengths, axis=0)[:left]
        yield block + 0.25 * rng.standard_normal(block.shape, dtype=np.float32)
        left -= len(block)


if __name__ == "__main__":
    main([int(word) for word in sys.argv[1:]] or [1_000_000, 3_000_000])
