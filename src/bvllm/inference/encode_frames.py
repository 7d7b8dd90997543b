"""Run the first pass: every sampled frame through the tower, in order, while the next ones are decoded."""

import math
from collections import deque
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from bvllm.common.threads import CpuSlots, map_in_order
from bvllm.inference.frame_cache import FrameCache
from bvllm.video import VideoInfo, VideoStream


def encode_frames(
    video: VideoStream,
    features_of: Callable[[Tensor], Tensor],
    threads: int,
    cpu_slots: CpuSlots,
    cache: FrameCache | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Features and seconds of each chunk of a video, in order.

    Args:
        video: read in chunks that the tower takes.
        features_of: (t, 3, H, W) uint8 -> (t, C); called in several threads.
        threads: chunks encoded in parallel.
        cpu_slots: the one that `video` was opened with: decoding and encoding share the cores.
        cache: receives the pixels on their way.
    """
    seconds: deque[Tensor] = deque()

    def encode(pixels: Tensor) -> Tensor:
        with cpu_slots:
            return features_of(pixels)

    for features in map_in_order(encode, _pixels(video, seconds, cache), threads):
        yield features, seconds.popleft()


def planned_frames(info: VideoInfo, fps: float | None) -> int | None:
    """About how many frames there will be; None where the container does not know."""
    if fps is None or not info.duration_seconds:
        return info.frames
    return max(1, math.ceil(info.duration_seconds * fps))


def _pixels(video: VideoStream, seconds: deque[Tensor], cache: FrameCache | None) -> Iterator[Tensor]:
    for chunk in video:
        if cache is not None:
            cache.append(chunk.pixels)
        seconds.append(chunk.seconds)
        yield chunk.pixels


def filled(frames: Tensor, count: int) -> Tensor:
    """As many frames, the last one again and again: a product of another shape may round otherwise."""
    missing = count - len(frames)
    return torch.cat([frames, frames[-1:].expand(missing, -1, -1, -1)]) if missing > 0 else frames
