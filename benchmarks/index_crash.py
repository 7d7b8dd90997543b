"""kill -9 while `bvllm index` runs: never a wrong answer, never a file that needs a person.

    python benchmarks/index_crash.py [--kills 50] [--seconds 240] [--model nano]

A video is drawn and indexed once without disturbance. Then, over and over, `bvllm index` is started in a
fresh process and killed at a random moment after it began to write, until it has been killed so often; a run
that finishes first counts as no kill, and its index is compared and removed. After every kill the folder is
checked: whatever entry is there must be, byte for byte in its tensors, that of the undisturbed run.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from bvllm.index import IndexedVideo, IndexFolder
from bvllm.synthetic.haystack import DrawnHaystack
from bvllm.synthetic.make import write_video
from bvllm.synthetic.timeline import plan_video

SIZE, RATE = (160, 120), 2


def command(video: Path, folder: Path, model: str) -> list[str]:
    options = ["--index", str(folder), "--workers", "1", "--fps", str(RATE), "--model", model]
    return [sys.executable, "-m", "bvllm", "index", str(video), *options]


def same(one: IndexedVideo, other: IndexedVideo) -> bool:
    maps = one.frame_map.keys() == other.frame_map.keys() and all(
        np.array_equal(one.frame_map[name], other.frame_map[name]) for name in one.frame_map
    )
    return maps and torch.equal(one.features, other.features) and torch.equal(one.seconds, other.seconds)


def killed(video: Path, folder: Path, model: str, rng: random.Random, span: float) -> bool:
    """Start, wait until something is written, wait a little more, kill; whether there was anybody to kill."""
    process = subprocess.Popen(command(video, folder, model), stdout=subprocess.DEVNULL)
    before = state(folder)
    while process.poll() is None and state(folder) == before:
        time.sleep(0.002)
    deadline = time.monotonic() + rng.random() * span
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    if process.poll() is not None:
        return False
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    return True


def state(folder: Path) -> list[tuple[str, int]]:
    found = []
    for path in folder.iterdir() if folder.is_dir() else []:
        try:
            found.append((path.name, path.stat().st_size))
        except FileNotFoundError:
            continue
    return sorted(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seconds", type=int, default=240)
    parser.add_argument("--span", type=float, default=0.5, help="seconds of writing in which the kill falls")
    parser.add_argument("--model", default="nano")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as scratch:
        video, whole, folder = (Path(scratch, name) for name in ("video.mp4", "whole", "index"))
        timeline = plan_video(np.random.default_rng(1), "test", float(options.seconds), ["retrieval_edit"])
        write_video(video, timeline, DrawnHaystack(1, SIZE), SIZE, RATE)
        subprocess.run(command(video, whole, options.model), check=True, stdout=subprocess.DEVNULL)
        [right] = IndexFolder(whole).videos()
        kills = finished = in_journal = wrong = damaged = 0
        while kills < options.kills:
            if killed(video, folder, options.model, rng, options.span):
                kills += 1
            else:
                finished += 1
            findings = IndexFolder(folder).check()
            in_journal += any(finding.kind == "partial" for finding in findings)
            damaged += sum(finding.kind not in ("partial", "leftover") for finding in findings)
            entries = list(IndexFolder(folder).videos())
            wrong += sum(not same(entry, right) for entry in entries)
            if entries:
                for path in folder.iterdir():
                    path.unlink()
        subprocess.run(command(video, folder, options.model), check=True, stdout=subprocess.DEVNULL)
        [last] = IndexFolder(folder).videos()
        wrong += not same(last, right)
        left = len(IndexFolder(folder).check())
    print(
        "| kills | runs that ended first | journals left | wrong entries | damaged files | files left over |"
    )
    print("|---|---|---|---|---|---|")
    print(f"| {kills} | {finished} | {in_journal} | {wrong} | {damaged} | {left} |")
    sys.exit(bool(wrong or damaged or left))


if __name__ == "__main__":
    main()
