"""How much slower a command is beside a process that keeps one core busy, in turns with the idle machine.

    python -m benchmarks.busy [--rounds 3] [--wait ACTIVE] -- ask video.mp4 "which colour is it?" --no-index

Idle kernel threads of a command sleep (`OMP_WAIT_POLICY=PASSIVE`); ACTIVE is the default of OpenMP.
A fair share of two cores beside one busy process would be a ratio of at most 1.5.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time


def seconds(words: list[str], wait: str) -> float:
    """Wall time of one run of the command line."""
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "bvllm", *words],
        env={**os.environ, "OMP_WAIT_POLICY": wait},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--wait", choices=("PASSIVE", "ACTIVE"), default="PASSIVE")
    parser.add_argument("words", nargs="+", help="of the command, behind --")
    options = parser.parse_args()
    ratios = []
    for _ in range(options.rounds):
        alone = seconds(options.words, options.wait)
        with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as neighbour:
            try:
                beside = seconds(options.words, options.wait)
            finally:
                neighbour.kill()
        ratios.append(beside / alone)
        print(f"alone {alone:.1f} s, beside {beside:.1f} s: {beside / alone:.2f} x", flush=True)
    print(f"median {statistics.median(ratios):.2f} x")


if __name__ == "__main__":
    main()
