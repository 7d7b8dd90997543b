"""The real sizes on a GPU, with random weights: time to the first token for an hour of video, and after.

    python -m benchmarks.gpu [--folder DIR] [--json FILE]

Runs unattended: draws its videos, builds each model in bfloat16 on the GPU, and prints a table against the
goals that were set for one H200. Nothing is downloaded. On a machine without a GPU it says so and stops.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from transformers import CLIPVisionConfig, InstructBlipQFormerConfig, InstructBlipVisionConfig, Qwen2Config

from benchmarks.speed.footage import draw_clip, loop_clip
from benchmarks.speed.model import with_random_weights
from benchmarks.speed.page import as_json, as_markdown
from benchmarks.speed.result import Conditions, Figure
from bvllm.common.threads import map_in_order, usable_cores
from bvllm.inference.ask import LoadedModel, Session, answer, encode_video
from bvllm.inference.encode import GPU_WORKERS
from bvllm.model import BVLLMConfig
from bvllm.model.fast_tower import fast_tower
from bvllm.model.vision_tower import CLIP_MEAN, CLIP_STD
from bvllm.synthetic.tokenizer import VIDEO, build_tokenizer

QUESTION, SECOND = "which word is written in the video?", "what colour is the star?"
SIZES = {"360p": (640, 360), "720p": (1280, 720)}
FIRST_GOAL = {"360p": 8.0, "720p": 12.0}  # seconds, an hour of video
PAPER = {4: 3.16, 8: 5.6, 12: 7.9}  # Table 10: minutes of video, seconds
CLIP_GFLOP, H200_TFLOPS = 382.0, 989.0  # one frame of ViT-L/14 at 336; dense bf16
GIB = 2**30


@dataclass(frozen=True)
class Times:
    """Seconds of one video: cold, the tower's pass alone on frames in memory, and a second question."""

    first: float
    second: float
    frames: int
    gpu_gib: float


def build(vision: dict) -> LoadedModel:
    """A B-VLLM with InstructBLIP's Q-Formers and Qwen2-7B's decoder, random, in bfloat16 on the GPU."""
    tokenizer = build_tokenizer()
    video = tokenizer.convert_tokens_to_ids(VIDEO)
    text = Qwen2Config(
        hidden_size=3584,
        intermediate_size=18944,
        num_hidden_layers=28,
        num_attention_heads=28,
        num_key_value_heads=4,
        vocab_size=152064,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    )
    q_former = InstructBlipQFormerConfig(vocab_size=30523).to_dict()
    config = BVLLMConfig(
        vision_config=vision,
        frame_qformer_config=q_former,
        spatial_qformer_config=q_former,
        text_config=text.to_dict(),
        video_token_id=video,
    )
    stock = with_random_weights(config, "random", device="cuda")
    return replace(stock, fast=fast_tower(stock.model.model.vision_tower, CLIP_MEAN, CLIP_STD))


def ask_twice(video: Path, loaded: LoadedModel) -> Times:
    """From the file to the first token, then another question about it."""
    torch.cuda.reset_peak_memory_stats()
    session = Session()
    first, encoded = _timed(lambda: _first(video, loaded, session))
    second, _ = _timed(lambda: answer(encoded, SECOND, loaded, session=session, max_new_tokens=1))
    encoded.close()
    return Times(first, second, len(encoded), torch.cuda.max_memory_allocated() / GIB)


def tower_rate(loaded: LoadedModel, frames: int = 2048) -> float:
    """Frames a second through the first pass, pixels already in memory."""
    pixels = torch.randint(0, 256, (loaded.chunk, 3, *loaded.frame_size), dtype=torch.uint8)
    chunks = [pixels] * (frames // loaded.chunk)
    loaded.frame_features(pixels)
    seconds, _ = _timed(lambda: list(map_in_order(loaded.frame_features, chunks, GPU_WORKERS)))
    return frames / seconds


def tower_figures(loaded: LoadedModel) -> list[Figure]:
    """H2: the tower as it is used, beside transformers' own and the compiled one."""
    rates = {"stock": tower_rate(replace(loaded, fast=None)), "fast": tower_rate(loaded)}
    quick = fast_tower(loaded.model.model.vision_tower, CLIP_MEAN, CLIP_STD)
    rates["compiling_s"], _ = _timed(quick.compile)
    rates["compiled"] = tower_rate(replace(loaded, fast=quick))
    share = 100 * rates["fast"] * CLIP_GFLOP / 1000 / H200_TFLOPS
    return [
        Figure("H2", "tower, frames a second (ViT-L/336)", rates["fast"], 1100, "frames/s", details=rates),
        Figure("H2", "tower, share of an H200's dense bf16 peak", share, 45, "%"),
    ]


def measure(folder: Path) -> list[Figure]:
    """H1 to H3."""
    clips = {name: draw_clip(folder / f"{name}.mp4", 60, size) for name, size in SIZES.items()}
    large = CLIPVisionConfig(
        hidden_size=1024,
        intermediate_size=4096,
        num_hidden_layers=24,
        num_attention_heads=16,
        image_size=336,
        patch_size=14,
    )
    loaded = build(large.to_dict())
    figures = tower_figures(loaded)
    for name, clip in clips.items():
        took = ask_twice(loop_clip(clip, folder / f"{name}-hour.mp4", 3600), loaded)
        details = asdict(took)
        figures += [
            Figure(
                "H1",
                f"an hour, cold, to the first token ({name})",
                took.first,
                FIRST_GOAL[name],
                "s",
                False,
                details,
            ),
            Figure("H1", f"GPU memory ({name})", took.gpu_gib, 24, "GiB", False),
            Figure("H2", f"second question ({name})", took.second, 0.3, "s", False),
        ]
    del loaded
    torch.cuda.empty_cache()
    giant = build(InstructBlipVisionConfig().to_dict())
    for minutes, seconds in PAPER.items():
        video = loop_clip(clips["360p"], folder / f"{minutes}.mp4", minutes * 60)
        took = ask_twice(video, giant)
        figures.append(
            Figure("H3", f"{minutes} minutes with ViT-g, cold", took.first, seconds, "s", False, asdict(took))
        )
    return figures


def _first(video: Path, loaded: LoadedModel, session: Session):
    encoded = encode_video(video, loaded, threads=usable_cores())
    answer(encoded, QUESTION, loaded, session=session, max_new_tokens=1)
    return encoded


def _timed(work: Callable[[], object]) -> tuple[float, object]:
    torch.cuda.synchronize()
    started = time.perf_counter()
    found = work()
    torch.cuda.synchronize()
    return time.perf_counter() - started, found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("error: a CUDA GPU is needed, got none: run this on a machine that has one", file=sys.stderr)
        return 1
    conditions = Conditions.now(" ".join(sys.argv))
    with tempfile.TemporaryDirectory() as scratch:
        figures = measure(options.folder or Path(scratch))
    print(torch.cuda.get_device_name())
    print(as_markdown(figures, conditions))
    if options.json:
        options.json.write_text(as_json(figures, conditions) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
