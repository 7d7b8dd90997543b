"""How long a search takes over millions of frames that lie in files: exactly, and with a vector library.

    python -m benchmarks.search [FRAMES ...]

Frames are drawn: scenes of 5 to 60 alike ones, scenes around topics, topics around a common mean, in videos
of an hour. Queries are topics with as much noise again, so that they lie apart from all frames, as words do.
Prints the median milliseconds of both ways, the share of the exact way's ten best frames and ten moments that
the library gives too, and what building cost. The folder for the frames is that of `TMPDIR`.
"""

import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bvllm.index import IndexedVideo, IndexKey
from bvllm.index.search import LibraryShelf, Moment, shelf
from bvllm.index.search.large import PROPOSED, library_moments
from bvllm.index.search.library import MissingLibrary, load_library
from bvllm.index.search.moments import NEAR_SECONDS, best_moments
from bvllm.index.search.scores import all_cosines

Out = TypeVar("Out")
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
            measure(draw(Path(folder) / "frames", frames), Path(folder) / "shelf")


def measure(drawn: Drawn, folder: Path) -> None:
    """Print what both ways take, and how far they agree."""
    videos, queries = drawn
    exact_moments(videos, queries[0])  # the file is in memory from here on, as far as there is room
    exact, exact_ms = timed(queries, lambda query: exact_moments(videos, query))
    print(f"exact search         {exact_ms}")
    try:
        load_library()
    except MissingLibrary as missing:
        print(f"no vector library: {missing}")
        return
    before, clock, cpu = status("VmRSS"), time.perf_counter(), time.process_time()
    anonymous = status("RssAnon")
    built = LibraryShelf(folder, above=0, tell=lambda _: None).library_for(videos)
    wall, cpu = time.perf_counter() - clock, time.process_time() - cpu
    assert built is not None
    size = sum(path.stat().st_size for path in folder.iterdir())
    print(f"built in             {wall:8.1f} s, {cpu:.1f} s of CPU; {size / 1e6:.0f} MB on disk")
    print(f"memory               {anonymous:8.0f} MB before, {status('RssAnon'):.0f} MB with the library,")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"                     {before:8.0f} MB and {peak:.0f} MB at most with mapped files")
    del built
    clock = time.perf_counter()
    library = LibraryShelf(folder, above=0).library_for(videos)
    assert library is not None
    print(f"opened and verified  {time.perf_counter() - clock:8.2f} s, once a process")
    found, found_ms = timed(
        queries, lambda query: library_moments(library, videos, query, TOP, NEAR_SECONDS) or ()
    )
    _, proposing_ms = timed(
        queries, lambda query: library.built.nearest((query / query.norm()).numpy(), PROPOSED)
    )
    print(f"with the library     {found_ms}")
    print(f"its proposals alone  {proposing_ms}")
    print(f"fell back to exact   {sum(not moments for moments in found):8d} of {len(found)} queries")
    print(f"moments the same     {shared(exact, found):8.1%} of the best {TOP}")
    print(f"recall@{TOP} of frames  {frame_recall(library, videos, queries):8.1%} among {PROPOSED} proposed")


def exact_moments(videos: list[IndexedVideo], query: Tensor) -> tuple[Moment, ...]:
    scores = all_cosines([video.features for video in videos], query)
    return best_moments(scores, [video.seconds.numpy() for video in videos], TOP, NEAR_SECONDS)


def timed(queries: Tensor, work: Callable[[Tensor], Out]) -> tuple[list[Out], str]:
    """What each query gives, and the medians of what they take."""
    found, wall, cpu = [], [], []
    for query in queries:
        clock, process = time.perf_counter(), time.process_time()
        found.append(work(query))
        wall.append(1000 * (time.perf_counter() - clock))
        cpu.append(1000 * (time.process_time() - process))
    return found, f"{median(wall):8.1f} ms a query, {median(cpu):.1f} ms of CPU"


def shared(exact: list[tuple[Moment, ...]], found: list[tuple[Moment, ...]]) -> float:
    """The share of exact moments (same video and frame) that were found, over the queries answered."""
    pairs = [(wanted, got) for wanted, got in zip(exact, found) if got]
    hits = [{(m.video, m.frame) for m in a} & {(m.video, m.frame) for m in b} for a, b in pairs]
    return sum(map(len, hits)) / max(1, sum(len(wanted) for wanted, _ in pairs))


def frame_recall(library: shelf.OpenLibrary, videos: list[IndexedVideo], queries: Tensor) -> float:
    """The share of the best frames, moments aside, that the library proposes."""
    by_name = {video.key.name: video for video in videos}
    features, hits = [by_name[name].features for name in library.header.frames], 0
    for query in queries:
        best = np.argpartition(-np.concatenate(all_cosines(features, query)), TOP)[:TOP]
        hits += np.isin(best, library.built.nearest((query / query.norm()).numpy(), PROPOSED)).sum()
    return hits / (TOP * len(queries))


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


def status(name: str) -> float:
    """A line of this process's status in MB; nan where the system has no such file."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return float("nan")
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(name + ":"))


if __name__ == "__main__":
    main([int(word) for word in sys.argv[1:]] or [1_000_000, 1_200_000, 3_000_000])
