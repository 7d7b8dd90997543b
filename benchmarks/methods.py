"""What each method of the token slots costs, beside ToMe to the same count.

    python -m benchmarks.methods [--methods fastervlm,holitom] [--shapes 32x729x1152,128x196x3584]
                                 [--types float32,bfloat16] [--share 8] [--json FILE]

Deciding and carrying out, of one clip whose frames follow one another as a video's do. Processor time of all
threads, so that what else runs on the machine counts little; memory beside the input, from what the system
says of this process every few milliseconds. Goals: at most twice ToMe's time, and at most twice the input.
Methods that go by attention are given some; reading it from a tower is not in these figures.
"""

import argparse
import gc
import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from bvllm.methods import METHODS
from bvllm.stages.method import TokenMethod, decide
from bvllm.types import Signals, Tokens

SHAPES = "32x729x1152,128x196x3584"
TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
PAGE = 4096
MAPPED = "MALLOC_MMAP_THRESHOLD_"  # glibc: blocks from this size on go back to the system when they are freed
MOST_TIME, MOST_MEMORY = 2.0, 2.0


@dataclass(frozen=True)
class Cost:
    """One method on one clip: seconds of processor time, bytes beside the input, and both as ratios."""

    method: str
    shape: str
    dtype: str
    left: int
    seconds: float
    ratio: float
    memory: float


def clip(frames: int, patches: int, channels: int, dtype: torch.dtype) -> Tokens:
    """Frames that change a little, and all at once now and then; some places stand still."""
    drawn = torch.Generator().manual_seed(0)
    x = torch.empty(frames, patches, channels, dtype=dtype)
    scene = torch.randn(patches, channels, generator=drawn)
    moves = torch.rand(patches, 1, generator=drawn)
    for k in range(frames):
        if k and k % 11 == 0:
            scene = torch.randn(patches, channels, generator=drawn)
        x[k] = scene + moves * torch.randn(patches, channels, generator=drawn)
    return Tokens.of(x, torch.arange(float(frames)))


def signals(tokens: Tokens) -> Signals:
    """All that a method may ask for."""
    drawn = torch.Generator().manual_seed(1)
    count, frames = len(tokens), len(torch.unique(tokens.frame))
    return Signals(
        question=torch.randn(8, tokens.features.shape[1], generator=drawn),
        relevance=torch.rand(frames, generator=drawn),
        attention=torch.rand(count, generator=drawn),
        keys=torch.randn(count, 64, generator=drawn),
        grid=(int(tokens.row.max()) + 1, int(tokens.column.max()) + 1),
        seconds=tokens.seconds,
    )


@contextmanager
def peak() -> Iterator[list[int]]:
    """The most memory of this process meanwhile, above what it had: one number, in bytes."""
    found, done = [0], threading.Event()
    before = resident()

    def watch() -> None:
        while not done.wait(0.002):
            found[0] = max(found[0], resident() - before)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield found
    finally:
        done.set()
        watcher.join()


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def measure(name: str, tokens: Tokens, keep: int, given: Signals) -> tuple[int, float, int]:
    """Tokens that are left, seconds of processor time, bytes."""
    method = METHODS["merge_tokens"][name]()
    gc.collect()
    with torch.inference_mode(), peak() as most:
        started = time.process_time()
        left = tokens.reduce(decide(method, tokens, keep, given))
        seconds = time.process_time() - started
    return len(left), seconds, most[0]


def costs(names: list[str], shape: str, dtype: str, share: int) -> Iterator[Cost]:
    tokens = clip(*(int(part) for part in shape.split("x")), TYPES[dtype])
    given, keep = signals(tokens), len(tokens) // share
    plain = Signals(grid=given.grid, seconds=given.seconds)  # ToMe goes by the features, as no key is given
    whole = tokens.features.numel() * tokens.features.element_size()
    measure("uniform", tokens, keep, given)  # what is loaded once
    _, tome, _ = measure("tome", tokens, keep, plain)
    for name in names:
        left, seconds, memory = measure(name, tokens, keep, plain if name == "tome" else given)
        yield Cost(name, shape, dtype, left, seconds, seconds / tome, memory / whole)


def main() -> None:
    if MAPPED not in os.environ:  # what was freed would hide what is taken next
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, MAPPED: "65536"})
    every = [n for n, m in METHODS["merge_tokens"].items() if issubclass(m, TokenMethod)]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", default=",".join(every))
    parser.add_argument("--shapes", default=SHAPES)
    parser.add_argument("--types", default=",".join(TYPES))
    parser.add_argument("--share", type=int, default=8)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    print("| method | tokens | type | left | seconds | x ToMe | memory / input |")
    print("|---|---|---|---|---|---|---|")
    found = []
    for shape in options.shapes.split(","):
        for dtype in options.types.split(","):
            for cost in costs(options.methods.split(","), shape, dtype, options.share):
                found.append(cost)
                missed = " **" * (cost.ratio > MOST_TIME or cost.memory > MOST_MEMORY)
                print(
                    f"| {cost.method} | {shape} | {dtype} | {cost.left} | {cost.seconds:.2f} | "
                    f"{cost.ratio:.2f} | {cost.memory:.2f} |{missed}",
                    flush=True,
                )
    if options.json:
        options.json.write_text(json.dumps([asdict(cost) for cost in found], indent=1) + "\n")


if __name__ == "__main__":
    main()
