"""Damage videos at random: is decoding in part equal to decoding everything, and if not, is that reported?

    python -m benchmarks.mutants --count 100000 --out mutants.json

Videos of every codec that can be decoded in part are drawn and encoded. A seed decides how each copy is
damaged (bits, bytes; lost, doubled and exchanged stretches), and each is read both ways. A difference in
times or pixels counts as reported if the reading in part warns of anything. Reading in part is forced where
it would not pay: in short videos, of which many frames are wanted.
"""

import argparse
import json
import random
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import torch

from bvllm.video import SamplingPlan, VideoError, read_video, sparse
from tests.video import make
from tests.video.test_sparse import PROVEN

FRAMES = 60
PLANS = (SamplingPlan(fps=1.0), SamplingPlan(fps=0.3), SamplingPlan(fps=2.0, max_frames=5))
KINDS = ("bit", "bits", "zeros", "noise", "cut", "lost", "doubled", "exchanged", "inserted")
STRETCHES = (1, 4, 16, 64, 188, 500, 2000)
SLOW_SECONDS = 8.0


class Mutant(NamedTuple):
    """One damaged video: the case that it was made from, and the seed of its damage."""

    case: str
    seed: int


class Outcome(NamedTuple):
    """What came of one mutant: a word for the count, and how long both readings took."""

    mutant: Mutant
    result: str
    seconds: float


def sample_videos() -> dict[str, bytes]:
    """A short video of each kind that can be decoded in part, once of flat pictures and once of noise."""
    return {
        f"{case}{' noise' * noise}": make.video(**{"frames": FRAMES, "noise": noise, **settings})
        for case, settings in PROVEN.items()
        for noise in (False, True)
    }


def damage(data: bytes, seed: int) -> bytes:
    """Damage a file; a seed always gives the same damage."""
    draw = random.Random(seed)
    mutated, length = bytearray(data), len(data)
    kind, at = draw.choice(KINDS), draw.randrange(length)
    stretch = min(length - at, draw.choice(STRETCHES))
    if kind in ("bit", "bits"):
        for place in (at, *(draw.randrange(length) for _ in range(draw.randrange(20) * (kind == "bits")))):
            mutated[place] ^= 1 << draw.randrange(8)
    elif kind == "cut":
        del mutated[at:]
    elif kind == "exchanged":
        other = draw.randrange(length - stretch + 1)
        mutated[at : at + stretch], mutated[other : other + stretch] = (
            mutated[other : other + stretch],
            mutated[at : at + stretch],
        )
    else:
        old = mutated[at : at + stretch]
        new = {
            "zeros": bytes(stretch),
            "noise": draw.randbytes(stretch),
            "lost": b"",
            "doubled": old * 2,
            "inserted": draw.randbytes(stretch) + old,
        }[kind]
        mutated[at : at + stretch] = new
    return bytes(mutated)


def compare(data: bytes, plan: SamplingPlan) -> str:
    """Read a video both ways and name what differs: "equal", "reported ..." or "silent ..."."""
    whole, part = (_read(data, plan, decode) for decode in ("all", "auto"))
    if isinstance(whole, str) or isinstance(part, str):
        if whole == part:
            return f"equal error {part}"
        return f"reported {part}" if isinstance(part, str) else "silent error"
    how = "in part" if part.sparse else "whole"
    if part.seconds != whole.seconds:
        difference = "times"
    elif not all(torch.equal(a, b) for a, b in zip(whole.pictures, part.pictures, strict=True)):
        difference = "pixels"
    else:
        return f"equal {how}"
    return f"{'reported' if part.warns else 'silent'} {difference} {how}"


class _Reading(NamedTuple):
    pictures: list[torch.Tensor]
    seconds: list[float]
    sparse: bool
    warns: bool


def _read(data: bytes, plan: SamplingPlan, decode: str) -> _Reading | str:
    """What one reading gives, or the kind of its error."""
    pictures: list[torch.Tensor] = []
    seconds: list[float] = []
    try:
        with read_video(data, plan, decode="all" if decode == "all" else "auto") as video:
            for chunk in video:
                pictures += chunk.pixels
                seconds += chunk.seconds.tolist()
            return _Reading(pictures, seconds, video.report.sparse, bool(video.report.warnings))
    except VideoError as error:
        return error.kind


def force_reading_in_part() -> None:
    """Decode in part also where it does not pay, in this process."""
    sparse.SHORTEST_SECONDS, sparse.WORTH = 0.0, 0


def _judge(task: tuple[Mutant, bytes]) -> Outcome:
    mutant, data = task
    started = time.monotonic()
    result = compare(damage(data, mutant.seed), PLANS[mutant.seed % len(PLANS)])
    return Outcome(mutant, result, time.monotonic() - started)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=10_000, help="how many mutants (default: 10000)")
    parser.add_argument("--workers", type=int, default=2, help="processes (default: 2)")
    parser.add_argument("--out", type=Path, help="write the counts as JSON")
    options = parser.parse_args()
    torch.set_num_threads(1)
    force_reading_in_part()
    videos = sample_videos()
    cases = sorted(videos)
    mutants = [Mutant(cases[k % len(cases)], k // len(cases)) for k in range(options.count)]
    counts: Counter[str] = Counter()
    odd: list[str] = []
    # A crash of FFmpeg ends a worker, which the executor raises as BrokenProcessPool.
    with ProcessPoolExecutor(options.workers, get_context("fork")) as workers:
        outcomes = workers.map(_judge, ((m, videos[m.case]) for m in mutants), chunksize=50)
        for done, outcome in enumerate(outcomes, 1):
            counts[outcome.result] += 1
            if outcome.result.startswith("silent") or outcome.seconds > SLOW_SECONDS:
                odd.append(f"{outcome.mutant.case}, {outcome.mutant.seed}: {outcome.result}")
            if done % 5000 == 0:
                print(f"{done} of {options.count}", file=sys.stderr, flush=True)
    for result, count in counts.most_common():
        print(f"{count:8d}  {result}")
    print("\n".join(odd))
    if options.out:
        options.out.write_text(json.dumps({"count": options.count, "results": counts, "odd": odd}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
