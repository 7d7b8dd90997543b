"""What `equal_dump.py` shows to both trees: configurations, weights by name, clips, chats, a video file.

Nothing here imports the package, so that a tree may arrange it as it likes.
"""

import math
import zlib
from fractions import Fraction
from pathlib import Path

import av
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

# The systems of the paper's tables, as fields of `BVLLMConfig` that differ from nano's with BASE.
BASE: dict[str, object] = {"num_selected_frames": 16, "tokens_per_frame": 8, "budget_tokens": 64}
_VID = {"kind": "llama_vid", "queries": 8, "show_cls": False}
_VL2 = {"kind": "videollama2"}
_ALL = {"token_sampler": "none", "tokens_per_frame": 64}
_UNIFORM = {"frame_selector": "uniform"}
_BLOCK = {"connector": _VL2, "num_selected_frames": 8, "budget_tokens": 125, **_ALL}
VARIANTS: dict[str, dict[str, object]] = {
    "full": {},
    "none": {**_UNIFORM, "merge_frames": False, "token_sampler": "none"},
    "fs": {"merge_frames": False, "token_sampler": "none"},
    "fs-tm": {"token_sampler": "none"},
    "no-fs": _UNIFORM,
    "no-tm": {"merge_frames": False},
    "llama-vid": {"connector": _VID, **_UNIFORM, "num_selected_frames": 64, "budget_tokens": 128, **_ALL},
    "llama-vid-b": {"connector": _VID, "budget_tokens": 128, **_ALL},
    "videollama2": {**_BLOCK, **_UNIFORM},
    "videollama2-b": _BLOCK,
    "mean": {"frame_feature": "mean"},
    "resampler": {"frame_selector": "resampler"},
    "resampler-mean": {"frame_selector": "resampler", "frame_feature": "mean"},
    "max": {"frame_feature": "max"},
    "learned": {"frame_feature": "qformer"},
    "adaptive": {"adaptive_tokens": True, "tokens_per_frame": 32},
    "certain": {"certainty": 0.2, "num_selected_frames": 32},
    "cls-mean": {"frame_feature": "cls_mean"},
    # Fig. 3
    "L8-R8": {"num_selected_frames": 8, "tokens_per_frame": 8},
    "L32-R4": {"num_selected_frames": 32, "tokens_per_frame": 4},
    "L16-R16": {"num_selected_frames": 16, "tokens_per_frame": 16},
    "tau0.5-gamma0.75": {"tau": 0.5, "gamma": 0.75},
    "tau0.1-gamma0.95": {"tau": 0.1, "gamma": 0.95},
    "theta16": {"budget_tokens": 16},
    "theta256": {"budget_tokens": 256},
    # Options that no table has
    "softmax": {"choice": "softmax"},
    "everything": {"frame_selector": "none"},
    "pool": {"token_sampler": "pool"},
    "thinned": {"merge_tokens": False, "budget_tokens": 24},
    "timeless": {"time_channels": 0, "clock": False},
    "llama-vid-grid": {"connector": {**_VID, "content": "grid", "grid": 4, "show_cls": True}, **_ALL},
    "llama-vid-bert": {"connector": {"kind": "llama_vid", "reader": "bert"}, **_ALL},
    "videollama2-pool": {**_BLOCK, "connector": {"kind": "videollama2", "form": "spatial_pool"}},
}
QUICK_VARIANTS = ("theta16", "llama-vid-b")

QUESTIONS = (
    "which colour is the star?\nA. red\nB. blue",
    "when does the word river appear?",
    "please list all you see.",
)
# Of a layer. Where queries read frames, what they share would soon drown what sets them apart; the language
# model would say one word over and over with less.
GAIN, LANGUAGE_GAIN = 0.7, 1.5
Chat = list[dict[str, object]]


@torch.no_grad()
def fill(model: nn.Module) -> None:
    """Weights that depend on their names alone, wide enough that every input leaves its mark."""
    for name, weight in model.named_parameters():
        noise = torch.randn(weight.shape, generator=_generator(name))
        if weight.ndim > 1:
            inputs = weight.numel() // weight.shape[0]
            gain = LANGUAGE_GAIN if "language_model" in name else GAIN
            weight.copy_(noise * max(0.05, gain / math.sqrt(inputs)))
        else:
            weight.copy_(noise * 0.2 + (1.0 if name.endswith("weight") else 0.0))


def clip(frames: int, seed: int, height: int = 96, width: int = 128) -> Tensor:
    """(T, 3, height, width) uint8: smooth pictures that stay for some frames, a little changed in each."""
    generator = _generator(f"clip {frames} {seed}")
    scenes = torch.rand(frames // 4 + 1, 3, 6, 6, generator=generator)
    shift = torch.rand(frames, 3, 6, 6, generator=generator) * 0.15
    coarse = scenes[torch.arange(frames) // 4] + shift
    smooth = interpolate(coarse, (height, width), mode="bilinear", align_corners=False)
    return (smooth.clamp(0, 1) * 255).round().to(torch.uint8)


def chats(lengths: tuple[int, ...], *, replies: bool = False) -> list[Chat]:
    """One chat about a clip of each length, with what the assistant says if it is to be learned."""
    found: list[Chat] = []
    for k, frames in enumerate(lengths):
        video = {"type": "video", "video": clip(frames, k), "seconds": [float(t) for t in range(frames)]}
        text = {"type": "text", "text": QUESTIONS[k % len(QUESTIONS)]}
        found.append([{"role": "user", "content": [video, text]}])
        if replies:
            found[-1].append({"role": "assistant", "content": ["red (A)", "00:03", "a blue moon"][k % 3]})
    return found


def draw_video(path: Path, seconds: int, rate: int = 8) -> None:
    """A video file, H.264 where it can be written; a disc can be seen for two of its seconds."""
    rows, columns = torch.meshgrid(torch.arange(144), torch.arange(192), indexing="ij")
    disc = (rows - 50) ** 2 + (columns - 60) ** 2 < 25**2
    pictures = clip(seconds * rate, 7, 144, 192)
    pictures[4 * rate : 6 * rate, :, disc] = torch.tensor([226, 32, 38], dtype=torch.uint8)[:, None]
    codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = 192, 144, "yuv420p"
        stream.codec_context.thread_count = 1
        for place, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture.permute(1, 2, 0).contiguous().numpy(), format="rgb24")
            frame.pts, frame.time_base = place, Fraction(1, rate)
            file.mux(stream.encode(frame))
        file.mux(stream.encode())


def _generator(name: str) -> torch.Generator:
    return torch.Generator().manual_seed(zlib.crc32(name.encode()))
