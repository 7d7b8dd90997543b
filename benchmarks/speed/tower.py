"""Measure G2 and G3: the vision tower against transformers' own, on one thread.

Random weights at the real sizes. The stock tower gets pixels that are normalised already; the fast one gets
bytes. What bfloat16 can gain depends on the CPU: about twice the rate of float32 with AVX-512, far more with
AMX.
"""

import copy
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from transformers import CLIPVisionConfig, CLIPVisionModel
from transformers.models.clip import CLIPImageProcessorPil

from benchmarks.speed.compare import Race, race
from bvllm.model.fast_tower import FastTower, has_bfloat16
from bvllm.model.presets import nano_vision
from bvllm.model.vision_tower import CLIP_MEAN, CLIP_STD, frame_features
from bvllm.video.frames import resize, to_planes

BASE = CLIPVisionConfig(
    hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12, image_size=224,
    patch_size=16,
)  # fmt: skip
LARGE = CLIPVisionConfig(
    hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16, image_size=336,
    patch_size=14,
)  # fmt: skip
BATCH = 8  # frames the stock tower is given at once


def tower(config: CLIPVisionConfig, rounds: int, frames: int = BATCH) -> Race:
    """[CLS] of some frames (G3): the stock tower in float32 and bfloat16, ours in both.

    The stock one sees all of them at once, as people run it; ours cuts them up itself. In float32 fewer are
    looked at, since that takes so much longer.
    """
    exact = CLIPVisionModel(config).eval()
    rough = copy.deepcopy(exact).bfloat16()
    single, half = (FastTower(exact, CLIP_MEAN, CLIP_STD, dtype) for dtype in (torch.float32, torch.bfloat16))
    pixels = torch.randint(0, 256, (frames, 3, config.image_size, config.image_size)).byte()
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in (CLIP_MEAN, CLIP_STD))
    normal = (pixels.float() / 255 - mean) / std
    normal_half, few = normal.bfloat16(), single.step
    wanted = frame_features(exact, normal[:few])

    def error(found: torch.Tensor) -> float:
        return float((found[:few].float() - wanted).norm() / wanted.norm())

    runs: dict[str, tuple[int, Callable[[], torch.Tensor]]] = {
        "stock_float32": (few, lambda: frame_features(exact, normal[:few])),
        "stock_bfloat16": (frames, lambda: frame_features(rough, normal_half)),
        "fast_float32": (few, lambda: single.frame_features(pixels[:few])),
        "fast_bfloat16": (frames, lambda: half.frame_features(pixels)),
    }
    took = race({name: run for name, (_, run) in runs.items()}, rounds)
    per_frame = {name: took[name] / seen for name, (seen, _) in runs.items()}
    return {
        "bfloat16_ratio": per_frame["stock_bfloat16"] / per_frame["fast_bfloat16"],
        "float32_ratio": per_frame["stock_float32"] / per_frame["fast_float32"],
        "stock_float32_to_fast_bfloat16": per_frame["stock_float32"] / per_frame["fast_bfloat16"],
        "stock_bfloat16_error": error(frame_features(rough, normal_half)),
        "fast_bfloat16_error": error(half.frame_features(pixels)),
        "fast_float32_error": error(single.frame_features(pixels[:few])),
        "bfloat16_in_hardware": has_bfloat16(),
        "batch": frames,
        **{f"{name}_ms_per_frame": ms for name, ms in per_frame.items()},
    }


def nano(rounds: int = 15) -> Race:
    """The embedded model's tower, a chunk of 16 frames."""
    return tower(nano_vision(), rounds, frames=16)


def base(rounds: int = 3) -> Race:
    """ViT-B/16 at 224 pixels."""
    return tower(BASE, rounds)


def large(rounds: int = 2) -> Race:
    """ViT-L/14 at 336 pixels."""
    return tower(LARGE, rounds)


def pixels(rounds: int = 15, height: int = 720, width: int = 1280, side: int = 336) -> Race:
    """A decoded frame to normalised bfloat16 (G2), against transformers' image processor, which uses PIL.

    Ours is resized with the decoder's own function; the fast tower then needs no normalising, which is done
    here all the same.
    """
    smooth = np.random.default_rng(0).integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    picture = Image.fromarray(smooth).resize((width, height), Image.Resampling.BICUBIC)
    frame, size = np.asarray(picture), {"height": side, "width": side}
    processor = CLIPImageProcessorPil(size=size, do_center_crop=False)
    std = torch.tensor(CLIP_STD).view(3, 1, 1)
    scale, shift = 1 / (255 * std), torch.tensor(CLIP_MEAN).view(3, 1, 1) / std

    def peer() -> torch.Tensor:
        return processor(images=picture, return_tensors="pt")["pixel_values"].bfloat16()

    def ours() -> torch.Tensor:
        return (resize(to_planes(frame), (side, side)) * scale - shift).bfloat16()

    took = race({"peer": peer, "ours": ours}, rounds)
    theirs = to_planes(np.asarray(picture.resize((side, side), Image.Resampling.BICUBIC))).int()
    apart = (resize(to_planes(frame), (side, side)).int() - theirs).abs().max()
    return {
        "ratio": took["peer"] / took["ours"],
        "most_grey_levels_apart": int(apart),
        **{f"{name}_ms": ms for name, ms in took.items()},
    }
