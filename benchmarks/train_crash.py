"""kill -9 at random moments of a training run: does every run end as the one that was never killed?

    python benchmarks/train_crash.py --kills 20 --out crash.json

Each kill comes at a random moment of a child process that trains the tiny preset and goes on from whatever is
on the disk; saves are made every step, so many kills fall into one. A run that reaches its end is compared
with one that was never killed: every recorded loss and every byte of the weights.
"""

import argparse
import json
import os
import random
import signal
import tempfile
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import torch

from bvllm.data.collate import Collator
from bvllm.data.encode import Example
from bvllm.model import BVLLMProcessor
from bvllm.training.rows import Corpus
from bvllm.training.run import train
from bvllm.training.settings import RECIPES, Settings, override

STAGES = ("alignment", "instruction")


class DrawnRows:
    """Questions about clips of noise; a row follows from its number alone."""

    def __init__(self, processor: BVLLMProcessor) -> None:
        self.processor = processor

    def __len__(self) -> int:
        return 40

    def __getitem__(self, position: int) -> Example:
        number = position % len(self)
        frames, side = number % 5, self.processor.video_processor.size["height"]
        visual = [self.processor.video_token_id] * (
            self.processor.placeholders.count(frames) if frames else 0
        )
        question, answer = [20, 21, 22 + number % 7], list(range(40, 42 + number % 5))
        hidden = len(visual) + len(question)
        noise = torch.Generator().manual_seed(number)
        return Example(
            torch.tensor([*visual, *question, *answer]),
            torch.tensor([-100] * hidden + answer),
            torch.randint(0, 256, (frames, 3, side, side), generator=noise).byte(),
            torch.arange(frames, dtype=torch.float64),
            (frames,) if frames else (),
            torch.tensor(question),
        )


def open_drawn(settings: Settings, stage: str, processor: BVLLMProcessor, folder: Path) -> Corpus:
    """Rows in memory, in place of files."""
    return Corpus(DrawnRows(processor), Collator(processor))


def child(settings: Settings, out: Path) -> int:
    """Train in a process of its own; its id."""
    process = os.fork()
    if process == 0:
        try:
            train(settings, out, resume=True, log=lambda line: None, open_rows=open_drawn)
            os._exit(0)
        finally:
            os._exit(1)
    return process


def files(out: Path) -> dict[str, bytes]:
    """What must be the same to the last bit."""
    names = [f"{stage}/{name}" for stage in STAGES for name in ("losses.jsonl", "result/weights.safetensors")]
    return {name: (out / name).read_bytes() for name in [*names, "model/model.safetensors"]}


def main() -> None:
    """Kill, go on, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--steps", type=int, default=6, help="of each stage")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, help="JSON file for the result")
    given = parser.parse_args()
    torch.set_num_threads(1)
    chance = random.Random(given.seed)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "rows.jsonl").touch()
        words = [f"{stage}.max_steps={given.steps}" for stage in STAGES]
        words += [f"data.{name}={place / 'rows.jsonl'}" for name in ("pretrain", "finetune")]
        settings = override(RECIPES["tiny"](), [*words, "run.save_every=1", "run.cpu=true"])
        started = time.monotonic()
        os.waitpid(child(settings, place / "whole"), 0)
        whole, expected = time.monotonic() - started, files(place / "whole")
        moments, same, runs, failed = [], 0, 0, 0
        while len(moments) < given.kills:
            runs += 1
            out = place / f"run{runs}"
            while True:
                wait = chance.uniform(0.02, 0.7) * whole if len(moments) < given.kills else 1e9
                status = killed_after(child(settings, out), wait)
                if status is None:
                    moments.append(round(wait, 3))
                    continue
                failed += status != 0
                break
            same += (out / "model").is_dir() and files(out) == expected
    result = {
        "kills": len(moments), "runs": runs, "identical": same, "crashed": failed,
        "seconds_of_one_run": round(whole, 1), "killed_after_seconds": moments, "torch": torch.__version__,
    }  # fmt: skip
    print(json.dumps(result, indent=1))
    if given.out is not None:
        given.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def killed_after(process: int, seconds: float) -> int | None:
    """The exit status of a process, or None where it had to be killed."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return None


if __name__ == "__main__":
    main()
