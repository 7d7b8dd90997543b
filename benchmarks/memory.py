"""Peak memory of asking videos of a minute, an hour and ten hours: B-VLLM promises that they are alike.

    python -m benchmarks.memory [--seconds 60 600 3600 36000] [--rate 2] [--index]
        [--model nano|dynamic-nano|wrapped] [--scorer tiny|released]

Each video is asked in a process of its own, whose high-water mark (VmHWM) is read when it has answered. The
videos are a minute of the world, or the shortest length where that is less, drawn at a low frame rate and
looped to length, so that most of the time goes into what is measured. With `--index` the question goes
through an index, made in passing, and a second question about the same video follows; their ratio is one of
CPU time, which a busy neighbour does not change.
At the low rate of frames an hour costs next to nothing to decode: `--rate 25` is ordinary footage. `wrapped`
is a tiny random Qwen2.5-VL with a tiny random CLIP, or, with `--scorer released`, one whose tower has the
sizes of openai/clip-vit-base-patch32.
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
from tests import torchvision_apart  # noqa: F401  # before transformers looks for it

SIZE = (320, 240)
DRAWN_SECONDS = 60.0
QUESTION, AGAIN = "which word is written in the video?", "which colour is the star?"
WRAPPED = "wrapped"
RELEASED = {  # the tower of openai/clip-vit-base-patch32
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "image_size": 224,
    "patch_size": 32,
}
CHILD = """
import json, sys, time
from tests import torchvision_apart
from bvllm.inference.ask import answer, encode_video, load_model
from bvllm.index import IndexFolder
from bvllm.asking.indexed import indexed_video
video, question, again, model, scorer, index = sys.argv[1:]
loaded = load_model(model, scorer=scorer or None)
def asked(question):
    started = time.process_time()
    seen = indexed_video(video, loaded, IndexFolder(index)) if index else encode_video(video, loaded)
    return answer(seen, question, loaded), time.process_time() - started
found, took = asked(question)
second = asked(again)[1] if index else 0.0
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps({"frames": found.frames_total, "kib": int(peak.split()[1]), "took": took, "second": second}))
"""


def peak_of(video: Path, model: str, scorer: str, index: str) -> dict[str, float]:
    """Ask in a fresh process: frames, peak memory in KiB, and CPU seconds of the questions, all included."""
    command = [sys.executable, "-c", CHILD, str(video), QUESTION, AGAIN, model, scorer, index]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def wrapped(folder: Path, scorer: str) -> tuple[str, str]:
    """A tiny Qwen2.5-VL and a CLIP, saved."""
    from transformers import CLIPConfig, CLIPModel

    from tests.model.backbones.tiny_families import save, save_clip

    clip = save_clip(folder)
    if scorer == "released":
        config = CLIPConfig.from_pretrained(clip)
        config.vision_config = type(config.vision_config)(**RELEASED)
        CLIPModel(config).save_pretrained(clip)
    return str(save("qwen2_5_vl", folder)), str(clip)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, nargs="+", default=[60, 600, 3600, 36000])
    parser.add_argument("--rate", type=int, default=2)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--index", action="store_true")
    parser.add_argument("--scorer", choices=("tiny", "released"), default="tiny")
    options = parser.parse_args()
    first = 0.0
    print("| seconds | frames | peak MB | above the first | CPU time | second / first |")
    print("|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        model, scorer = options.model, ""
        if options.model == WRAPPED:
            model, scorer = wrapped(Path(folder), options.scorer)
        clip = Path(folder) / "minute.mp4"
        drawn = min(DRAWN_SECONDS, *options.seconds)
        timeline = plan_video(np.random.default_rng(1), "test", drawn, ["retrieval_edit"])
        write_video(clip, timeline, DrawnHaystack(1, SIZE), SIZE, options.rate)
        for seconds in options.seconds:
            video = loop_clip(clip, Path(folder) / f"{seconds}.mp4", seconds)
            found = peak_of(video, model, scorer, f"{folder}/index" if options.index else "")
            peak = found["kib"] * 1024 / 1e6
            first = first or peak
            cells = (
                seconds,
                found["frames"],
                f"{peak:.0f}",
                f"{peak - first:+.0f}",
                f"{found['took']:.2f} s",
                f"{found['second'] / found['took']:.3f}" if options.index else "-",
            )
            print("| " + " | ".join(map(str, cells)) + " |", flush=True)
            video.unlink()


if __name__ == "__main__":
    main()
