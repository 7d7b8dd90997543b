"""Peak memory of asking a one-minute and a one-hour video: what B-VLLM promises is that they are the same.

    python benchmarks/memory.py [--seconds 60 3600] [--rate 2] [--model nano]

Each video is asked in a process of its own, whose high-water mark (VmHWM) is read when it has answered. The
videos are drawn by the world at a low frame rate, so that most of the time goes into what is measured.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from bvllm.data.world.haystack import DrawnHaystack
from bvllm.data.world.make import write_video
from bvllm.data.world.timeline import plan_video

SIZE = (320, 240)
QUESTION = "which word is written in the video?"
CHILD = """
import json, sys
from bvllm.app.ask import ask, load_model
answer = ask(sys.argv[1], sys.argv[2], load_model(sys.argv[3]))
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps({"frames": answer.frames_total, "text": answer.text, "kib": int(peak.split()[1])}))
"""


def peak_of(video: Path, model: str) -> dict[str, int | str]:
    """Ask one question in a fresh process: frames, answer and peak memory in KiB."""
    command = [sys.executable, "-c", CHILD, str(video), QUESTION, model]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, nargs="+", default=[60, 3600])
    parser.add_argument("--rate", type=int, default=2)
    parser.add_argument("--model", default="nano")
    options = parser.parse_args()
    first = 0
    print("| seconds | frames | peak MB | above the first |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for seconds in options.seconds:
            timeline = plan_video(np.random.default_rng(1), "test", float(seconds), ["retrieval_edit"])
            video = Path(folder) / f"{seconds}.mp4"
            write_video(video, timeline, DrawnHaystack(1, SIZE), SIZE, options.rate)
            found = peak_of(video, options.model)
            peak = int(found["kib"]) * 1024 / 1e6
            first = first or peak
            print(f"| {seconds} | {found['frames']} | {peak:.0f} | {peak - first:+.0f} |", flush=True)


if __name__ == "__main__":
    main()
