"""Decoding in part against decoding everything: the same frames, for how much of the time?

    python benchmarks/decode.py VIDEO... [--rounds 5]

CPU time in one thread, and wall time of two threads in part against one thread in full; the ways take
turns, and the ratios are medians over the rounds. Wall times mean little on a busy machine: see the load.
"""

import argparse
import hashlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from bvllm.video import SamplingPlan, read_video

SIZE = (224, 224)


def read(path: Path, decode: str, threads: int) -> tuple[str, int, bool]:
    """Hash of all frames and seconds at 1 fps, frames that were decoded, and whether that was in part."""
    digest = hashlib.sha256()
    with read_video(path, SamplingPlan(fps=1.0), size=SIZE, threads=threads, decode=decode) as video:
        for chunk in video:
            digest.update(chunk.pixels.contiguous().numpy())
            digest.update(chunk.seconds.numpy())
        return digest.hexdigest(), video.report.decoded, video.report.sparse


def sparse_against_all(path: Path, rounds: int) -> dict[str, object]:
    """Ratios above 1 say how many times as fast decoding in part is."""
    cpu: list[float] = []
    wall: list[float] = []
    seen = set()
    for _ in range(rounds):
        all_cpu, all_wall, whole = timed(lambda: read(path, "all", 1))
        part_cpu, _, part = timed(lambda: read(path, "auto", 1))
        _, two_wall, two = timed(lambda: read(path, "auto", 2))
        seen |= {whole[0], part[0], two[0]}
        cpu.append(all_cpu / part_cpu)
        wall.append(all_wall / two_wall)
    return {
        "video": path.name,
        "sparse": part[2],
        "same_frames": len(seen) == 1,
        "decoded": [part[1], whole[1]],
        "cpu_ratio_1_thread": round(median(cpu), 3),
        "cpu_ratio_range": [round(min(cpu), 3), round(max(cpu), 3)],
        "wall_ratio_2_threads": round(median(wall), 3),
        "load": os.getloadavg()[0],
    }


def timed(work: Callable[[], tuple[str, int, bool]]) -> tuple[float, float, tuple[str, int, bool]]:
    """CPU seconds, wall seconds, and what came of it."""
    cpu, wall = time.process_time(), time.perf_counter()
    result = work()
    return time.process_time() - cpu, time.perf_counter() - wall, result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("videos", type=Path, nargs="+")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    for path in options.videos:
        print(json.dumps(sparse_against_all(path, options.rounds)), flush=True)


if __name__ == "__main__":
    main()
