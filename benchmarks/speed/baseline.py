"""Implement the peer: decode every frame, preprocess with transformers, keep every token.

What the paper's released code does, with PyAV in the place of decord and half-precision kernels in the place
of the GPU's; kinder to it than the original, since the tower works in chunks and with SDPA. The weights are
the same as ours, and so is everything after the tokens of the chosen frames.
"""

from dataclasses import dataclass
from typing import Any

import av
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import CLIPImageProcessor

from bvllm.common.text import Question
from bvllm.inference.loading import LoadedModel
from bvllm.model.vision_tower import tower_of
from bvllm.types import Budget

TOWER_FRAMES = 8
LATE = 1e-6  # seconds by which a time may miss its target through rounding


@dataclass(frozen=True)
class Kept:
    """Everything of every frame.

    Attributes:
        pixels: (T, 3, H, W) bf16, normalised.
        frames: (T, C) one feature per frame.
        tokens: (T, N, C) all patches.
        seconds: (T,).
    """

    pixels: Tensor
    frames: Tensor
    tokens: Tensor
    seconds: Tensor


def decode_all(video: str, threads: int) -> tuple[list[Any], list[float]]:
    """Pictures at one a second, out of all that are decoded, and their seconds."""
    pictures, seconds, first = [], [], None
    with av.open(video) as container:
        stream = container.streams.video[0]
        stream.thread_type = "SLICE" if threads == 1 else "AUTO"
        stream.codec_context.thread_count = threads
        for frame in container.decode(stream):
            first = frame.time if first is None else first
            if frame.time - first >= len(pictures) - LATE:
                pictures.append(frame.to_image())
                seconds.append(frame.time - first)
    return pictures, seconds


def preprocess(pictures: list[Any], loaded: LoadedModel) -> Tensor:
    """transformers' own processor on Pillow: (T, 3, H, W) bf16."""
    height, width = loaded.frame_size
    ours = loaded.processor.video_processor
    processor = CLIPImageProcessor(
        size={"height": height, "width": width},
        do_center_crop=False,
        image_mean=list(ours.image_mean),
        image_std=list(ours.image_std),
    )
    # A picture at a time: a thousand at once would only cost memory.
    return torch.cat([processor(p, return_tensors="pt").pixel_values.bfloat16() for p in pictures])


def encode_all(pixels: Tensor, seconds: list[float], loaded: LoadedModel) -> Kept:
    """The tower over every frame, every token kept, cloned and normalised, as the released code does."""
    model = loaded.model
    tower, layer = model.vision_tower, model.config.vision_feature_layer
    prefix = tower_of(tower.config).prefix(tower.config)
    frames, tokens = [], []
    for chunk in pixels.split(TOWER_FRAMES):
        seen = tower(pixel_values=chunk, output_hidden_states=True)
        frames.append(seen.pooler_output)
        tokens.append(seen.hidden_states[layer])
    kept = torch.cat(tokens).clone()
    kept = F.layer_norm(kept, kept.shape[-1:])
    return Kept(pixels, torch.cat(frames), kept[:, prefix:], torch.tensor(seconds, dtype=torch.float64))


def ask_all(kept: Kept, question: str, loaded: LoadedModel) -> list[int]:
    """Select, mix by a dense product over all tokens, spend, one token of an answer; the chosen frames."""
    model, asked = loaded.model, loaded.read(Question(question))
    [selection] = model.select_frames([kept.frames], [kept.seconds], asked.tokens, budget=Budget())
    weights = selection.weights.to(kept.tokens.dtype)
    patches = torch.einsum("ft,tnc->fnc", weights, kept.tokens)
    visual = model.reduce_to_budget(patches, [selection], asked.tokens, budget=Budget())
    loaded.generate(asked, visual, max_new_tokens=1)
    return selection.frames.tolist()
