"""Draw one heat map per frame: where its tokens come from (the paper's Fig. 4)."""

import math

import numpy as np
from PIL import Image
from torch import Tensor

# Blue over violet to red, all of them at least three times as light as black and as dark as white (WCAG 2.2,
# 1.4.11), so that they are seen on any picture. More attention is also more opaque: it reads without colours.
RAMP = np.array([(55, 110, 255), (140, 70, 250), (215, 40, 190), (235, 35, 70)], dtype=np.float32)
STRONGEST = 0.8  # opacity of the hottest spot: the picture below stays visible


def heat_maps(attention: Tensor, grid: tuple[int, int] | None = None) -> np.ndarray:
    """Attention of the R tokens of each frame as one map per frame, each scaled to 0..1.

    Args:
        attention: (F, R, N) rows that sum to 1.
        grid: rows and columns of patches; None takes N as a square.

    Returns:
        (F, rows, columns) float32; all zero where attention was even.

    Raises:
        ValueError: N patches do not fill the grid.
    """
    frames, _, patches = attention.shape
    rows, columns = grid or (math.isqrt(patches), math.isqrt(patches))
    if rows * columns != patches:
        raise ValueError(
            f"grid must hold {patches} patches, got {rows} x {columns}: pass the tower's own grid"
        )
    mean = attention.detach().float().mean(dim=1).view(frames, rows, columns).cpu().numpy()
    low = mean.min(axis=(1, 2), keepdims=True)
    span = mean.max(axis=(1, 2), keepdims=True) - low
    even = span <= 1e-6 / patches
    return np.where(even, 0.0, (mean - low) / np.where(even, 1.0, span)).astype(np.float32)


def paint(heat: np.ndarray, size: tuple[int, int]) -> Image.Image:
    """A (rows, columns) map as a see-through picture of `size` (width, height) to lay over a frame."""
    smooth = Image.fromarray(heat.astype(np.float32)).resize(size, Image.Resampling.BICUBIC)
    value = np.clip(np.asarray(smooth, dtype=np.float32), 0.0, 1.0)
    place = value * (len(RAMP) - 1)
    lower = np.minimum(place.astype(int), len(RAMP) - 2)
    share = (place - lower)[..., None]
    colour = RAMP[lower] * (1 - share) + RAMP[lower + 1] * share
    opacity = 255 * STRONGEST * value[..., None]
    return Image.fromarray(np.concatenate([colour, opacity], axis=-1).round().astype(np.uint8), "RGBA")
