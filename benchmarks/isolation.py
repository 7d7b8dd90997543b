"""What decoding in a process of its own costs: a video read whole, here and there, in turns.

    python -m benchmarks.isolation [VIDEO] [--rounds 3] [--minutes 60]

Prints seconds of each way, their ratio, and how long the process takes to start. Without a video a drawn
minute is looped to length.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks.speed.footage import draw_clip, loop_clip
from bvllm.video import LOCAL_LIMITS, SamplingPlan, isolation, jobs, read_video

SIZE, CHUNK = (224, 224), 16


def read(path: Path, threads: int) -> float:
    """Seconds to read a video at one frame a second."""
    started = time.perf_counter()
    with read_video(path, SamplingPlan(fps=1.0), LOCAL_LIMITS, SIZE, CHUNK, threads) as video:
        for _ in video:
            pass
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("video", type=Path, nargs="?")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    started = time.perf_counter()
    isolation.start_decoding_process()
    print(f"start {time.perf_counter() - started:.3f} s")
    process = jobs.decoding_process()
    with tempfile.TemporaryDirectory() as folder:
        video = options.video
        if video is None:
            clip = draw_clip(Path(folder) / "minute.mp4", 60, (640, 360))
            video = loop_clip(clip, Path(folder) / "long.mp4", options.minutes * 60)
        ratios = []
        for _ in range(options.rounds):
            jobs.decode_in(None)
            here = read(video, options.threads)
            jobs.decode_in(process)
            there = read(video, options.threads)
            ratios.append(there / here)
            print(f"here {here:.2f} s, there {there:.2f} s: {there / here:.3f} x", flush=True)
    print(f"median {statistics.median(ratios):.3f} x")


if __name__ == "__main__":
    main()
