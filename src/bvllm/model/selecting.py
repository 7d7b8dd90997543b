"""Frames of many clips to one choice per clip: padding, and choices that need no learned part."""

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from bvllm.types import FrameSelection


def pad_clips(frames: list[Tensor], seconds: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Clips of different lengths side by side.

    Returns:
        Frames (B, T, C), mask (B, T), seconds (B, T).

    Errors:
        ValueError where a clip is empty, or has another number of times than frames.
    """
    if len(frames) != len(seconds):
        raise ValueError(f"seconds must be given for {len(frames)} clips, got {len(seconds)}: one row each")
    for clip, times in zip(frames, seconds):
        if not len(clip) or times.shape != clip.shape[:1]:
            raise ValueError(
                f"seconds must be one time for each frame of a clip, got {tuple(times.shape)} "
                f"for {len(clip)} frames: sample at least one frame"
            )
    device = frames[0].device
    lengths = torch.tensor([len(clip) for clip in frames], device=device)
    mask = torch.arange(int(lengths.max()), device=device) < lengths[:, None]
    times = [t.to(device) for t in seconds]
    if len(frames) == 1:  # as it is: a copy of ten hours is worth saving
        return frames[0][None], mask, times[0][None]
    return pad_sequence(frames, batch_first=True), mask, pad_sequence(times, batch_first=True)


def spread_evenly(seconds: Tensor, keep: int) -> FrameSelection:
    """Keep the middle frames of `keep` equal parts of the clip; all frames, where it has no more.

    No query votes, so every frame is as likely as any other.

    Example:
        >>> spread_evenly(torch.arange(9.0), keep=3).frames.tolist()
        [1, 4, 7]
    """
    total = len(seconds)
    keep = min(keep, total)
    frames = (2 * torch.arange(keep, device=seconds.device) + 1) * total // (2 * keep)
    weights = functional.one_hot(frames, total).float()
    return FrameSelection(
        weights,
        frames,
        seconds[frames],
        torch.ones(keep, device=seconds.device),
        torch.full((keep,), 1 / total, device=seconds.device),
        torch.zeros(keep, total, device=seconds.device),
    )


def is_mixture(selections: list[FrameSelection]) -> bool:
    """Whether a row of S mixes frames, as it does while the choice is learned."""
    return any(s.weights.requires_grad or bool((s.weights.amax(dim=-1) < 1).any()) for s in selections)


def mix_patches(patches: Tensor, lengths: list[int], selections: list[FrameSelection]) -> Tensor:
    """V* = S V (eq. 1) on the patches of whole clips: (sum T_i, N, C) -> (sum F_i, N, C)."""
    mixed = [
        torch.einsum("ft,tnc->fnc", selection.weights.to(clip.dtype), clip)
        for clip, selection in zip(patches.split(lengths), selections)
    ]
    return torch.cat(mixed)


def distinct_frames(lengths: list[int], selections: list[FrameSelection]) -> tuple[Tensor, Tensor]:
    """Which frames of a batch must be encoded, and which of them each chosen row stands on.

    Args:
        lengths: T_i frames of each clip, one clip after the other in the batch.

    Returns:
        Indices into all frames of the batch, ascending, and for each chosen row an index into those.
    """
    starts = [sum(lengths[:k]) for k in range(len(lengths))]
    chosen = torch.cat([s.frames + start for s, start in zip(selections, starts)])
    return chosen.unique(return_inverse=True)
