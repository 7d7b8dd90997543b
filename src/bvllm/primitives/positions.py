"""Encode where in its clip a frame stands, as fixed features."""

import math

import torch
from torch import Tensor

SLOWEST = 0.5  # cycles over the whole clip: start and end differ
FASTEST = 64.0  # cycles over the whole clip: about one cycle a minute in an hour


def relative_position(seconds: Tensor, mask: Tensor | None = None) -> Tensor:
    """Time as a share of the clip's own span: first frame 0, last frame 1.

    Args:
        seconds: (B, T) presentation times.
        mask: (B, T) True where there is a frame; None where all are.

    Returns:
        (B, T) in [0, 1], float64. A clip of one frame (or of no duration) gives 0; so does padding.

    Example:
        >>> relative_position(torch.tensor([[10.0, 15.0, 30.0]])).tolist()
        [[0.0, 0.25, 1.0]]
    """
    seconds = seconds.double()
    if mask is None:
        mask = torch.ones_like(seconds, dtype=torch.bool)
    first = seconds.masked_fill(~mask, torch.inf).amin(dim=-1, keepdim=True)
    span = seconds.masked_fill(~mask, -torch.inf).amax(dim=-1, keepdim=True) - first
    # `where` before the division: a span of 0 must give 0, not 0 / 0.
    share = (seconds - first) / torch.where(span > 0, span, torch.ones_like(span))
    return share.masked_fill(~mask, 0.0).clamp(0.0, 1.0)


def relative_position_features(seconds: Tensor, mask: Tensor | None, channels: int) -> Tensor:
    """Fixed features of a frame's place t in [0, 1] within its clip.

    The first two channels are 2t - 1 and 2t^2 - 1, enough for "at the start", "at the end" and any
    single peak between them; sines and cosines of 1/2 to 64 cycles, spaced evenly in pitch, follow
    for finer places. Nothing depends on how many frames the clip has, or on its neighbours in a batch.

    Args:
        seconds: (B, T) presentation times.
        mask: (B, T) True where there is a frame; None where all are.
        channels: how many features, P >= 0; a truncated list where P is small.

    Returns:
        (B, T, P) float32 in [-1, 1], 0 where there is padding.

    Raises:
        ValueError: `channels` is negative or `seconds` is not (B, T).

    Source: ours. The paper tells of no time that its selector sees (Sec. 3.2): [CLS] features carry none, and
    the Q-Former has no positions on what it reads.

    Example:
        >>> relative_position_features(torch.tensor([[0.0, 5.0, 10.0]]), None, channels=2).tolist()
        [[[-1.0, -1.0], [0.0, -0.5], [1.0, 1.0]]]
    """
    if channels < 0:
        raise ValueError(f"channels must be 0 or more, got {channels}: 0 switches positions off")
    if seconds.ndim != 2:
        raise ValueError(
            f"seconds must be (clips, frames), got shape {tuple(seconds.shape)}: pad clips to one row each"
        )
    t = relative_position(seconds, mask)[..., None]
    waves = max(0, math.ceil((channels - 2) / 2))
    pitch = torch.linspace(math.log(SLOWEST), math.log(FASTEST), waves, dtype=t.dtype, device=t.device)
    angle = 2 * math.pi * t * pitch.exp()
    wave = torch.stack([angle.sin().float(), angle.cos().float()], dim=-1).flatten(-2)
    slow = torch.cat([2 * t - 1, 2 * t.square() - 1], dim=-1).float()
    features = torch.cat([slow, wave], dim=-1)[..., :channels]
    return features if mask is None else features.masked_fill(~mask[..., None], 0.0)


def grid_position_features(rows: int, columns: int, channels: int) -> Tensor:
    """Fixed features of where in the frame each patch lies.

    Down and across alike: sines and cosines of 1/2, 1, 3/2, ... cycles over the frame, so that neither the
    number of patches nor the frame's shape matters.

    Args:
        rows, columns: patches, down and across.
        channels: how many features, P >= 0; a truncated list where P is no multiple of 4.

    Returns:
        (rows * columns, P) float32 in [-1, 1], row by row.

    Raises:
        ValueError: `channels` is negative, or there is no patch.

    Source: ours; queries that look for things in patches have been told places since DETR (Carion et al.,
    arXiv 2005.12872).

    Example:
        >>> (grid_position_features(1, 2, channels=4) * 2**0.5).round().int().tolist()
        [[0, 1, -1, 1], [0, 1, 1, 1]]
    """
    if channels < 0:
        raise ValueError(f"channels must be 0 or more, got {channels}: 0 switches positions off")
    if rows < 1 or columns < 1:
        raise ValueError(f"rows and columns must be at least 1, got {rows} x {columns}: a frame has a patch")
    down, across = torch.meshgrid(_centres(rows), _centres(columns), indexing="ij")
    waves = math.pi * torch.arange(1, math.ceil(channels / 4) + 1)
    angle = torch.stack([down.flatten(), across.flatten()], dim=-1)[:, None] * waves[:, None]
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)[:, :channels]


def _centres(count: int) -> Tensor:
    """Of `count` patches side by side, from -1/2 to 1/2."""
    return (torch.arange(count) + 0.5) / count - 0.5
