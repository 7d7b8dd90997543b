"""Peak memory of asking videos of a minute, an hour and ten hours: B-VLLM promises that they are alike.

    python -m benchmarks.memory [--seconds 60 600 3600 36000] [--rate 2] [--model nano] [--index]

Each video is asked in a process of its own, whose high-water mark (VmHWM) is read when it has answered. The
videos are a minute of the world, drawn at a low frame rate and looped to length, so that most of the time
goes into what is measured. With `--index` the question goes through an index, made in passing.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.speed.footage import loop_clip
from bvllm.synthetic.haystack import DrawnHaystack
from bvllm.synthetic.make import write_video
from bvllm.synthetic.timeline import plan_video

SIZE = (320, 240)
DRAWN_SECONDS = 60.0
QUESTION = "which word is written in the video?"
CHILD = """
import json, sys, time
from bvllm.inference.ask import answer, encode_video, load_model
from bvllm.index import IndexFolder
from bvllm.asking.indexed import indexed_video
video, question, model, index = sys.argv[1:]
started = time.perf_counter()
loaded = load_model(model)
seen = indexed_video(video, loaded, IndexFolder(index)) if index else encode_video(video, loaded)
found = answer(seen, question, loaded)
took = time.perf_counter() - started
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps({"frames": found.frames_total, "kib": int(peak.split()[1]), "seconds": took}))
"""


def peak_of(video: Path, model: str, index: str) -> dict[str, float]:
    """Ask one question in a fresh process: frames, peak memory in KiB, and seconds it took."""
    command = [sys.executable, "-c", CHILD, str(video), QUESTION, model, index]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, nargs="+", default=[60, 600, 3600, 36000])
    parser.add_argument("--rate", type=int, default=2)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--index", action="store_true")
    options = parser.parse_args()
    first = 0.0
    print("| seconds | frames | peak MB | above the first | took |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "minute.mp4"
        timeline = plan_video(np.random.default_rng(1), "test", DRAWN_SECONDS, ["retrieval_edit"])
        write_video(clip, timeline, DrawnHaystack(1, SIZE), SIZE, options.rate)
        for seconds in options.seconds:
            video = loop_clip(clip, Path(folder) / f"{seconds}.mp4", seconds)
            found = peak_of(video, options.model, f"{folder}/index" if options.index else "")
            peak = found["kib"] * 1024 / 1e6
            first = first or peak
            cells = (
                seconds,
                found["frames"],
                f"{peak:.0f}",
                f"{peak - first:+.0f}",
                f"{found['seconds']:.0f} s",
            )
            print("| " + " | ".join(map(str, cells)) + " |", flush=True)
            video.unlink()


if __name__ == "__main__":
    main()
