"""How long an exact search takes over a million frames that lie in a file.

    python -m benchmarks.search [FRAMES]

Prints milliseconds for the scores and for the moments, the least of five, and the same for one plain matrix
product over the file as the peer.
"""

import sys
import tempfile
import time
from collections.abc import Callable

import numpy as np
import torch

from bvllm.app.search.moments import best_moments
from bvllm.app.search.scores import cosines

CHANNELS = 128
TRIES = 5


def least(work: Callable[[], object]) -> tuple[float, float]:
    """(CPU, wall) milliseconds of the quickest of a few tries."""
    found = []
    for _ in range(TRIES):
        cpu, wall = time.process_time(), time.perf_counter()
        work()
        found.append((time.process_time() - cpu, time.perf_counter() - wall))
    return 1000 * min(c for c, _ in found), 1000 * min(w for _, w in found)


def main(frames: int) -> None:
    rng = np.random.default_rng(0)
    with tempfile.TemporaryFile() as file:
        for _ in range(0, frames, 10_000):
            file.write(rng.standard_normal((10_000, CHANNELS), dtype=np.float32).tobytes())
        file.flush()
        mapped = np.memmap(file, np.float32, "r+", shape=(frames, CHANNELS))
        features, query = torch.from_numpy(mapped), torch.randn(CHANNELS)
        scores, seconds = cosines(features, query), np.arange(frames, dtype=np.float64)
        rows = (
            ("scores, exact cosines", lambda: cosines(features, query)),
            ("ten moments out of them", lambda: best_moments([scores], [seconds], 10)),
            ("peer: one product, no norms", lambda: features @ query),
        )
        print(f"{frames} frames x {CHANNELS} float32, mapped from a file, {torch.get_num_threads()} threads")
        for name, work in rows:
            cpu, wall = least(work)
            print(f"{name:<30}{cpu:8.1f} ms CPU {wall:8.1f} ms wall")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
