"""An hour takes the memory of a minute."""

import subprocess
import sys

import pytest

from tests.video import make

# Peak memory of this process alone: ru_maxrss would also show the parent's.
READ = """
import gc, sys
from bvllm.video import SamplingPlan, read_video

def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))

def read(path):
    with read_video(path, SamplingPlan(fps=1.0), size=(64, 64)) as video:
        frames = sum(len(chunk) for chunk in video)
    gc.collect()  # PyAV's containers and streams refer to each other: decoders wait for the collector
    return frames

short = read(sys.argv[1]), read(sys.argv[1])
before = peak()
long = read(sys.argv[2])
sys.stdout.write(f"{short[1]} {long} {peak() - before}")
"""
SHORT, LONG, FPS = 300, 1200, 30
# FFmpeg keeps up to 64 bytes per frame of the container's index, and allocators keep a few pages. All
# pictures of the longer video, kept, would take 11 MB more.
MOST_KILOBYTES = 4096 + 64 * (LONG - SHORT) * FPS // 1024


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/status")
def test_memory_does_not_grow_with_the_video(tmp_path):
    short, long = tmp_path / "short.mp4", tmp_path / "long.mp4"
    short.write_bytes(make.repeated(SHORT))
    long.write_bytes(make.repeated(LONG))
    run = subprocess.run(
        [sys.executable, "-c", READ, short, long], capture_output=True, text=True, check=True
    )
    frames_short, frames_long, grown = map(int, run.stdout.split())
    assert (frames_short, frames_long) == (SHORT, LONG)
    assert grown < MOST_KILOBYTES, f"peak memory grew by {grown} kB over a video four times as long"
