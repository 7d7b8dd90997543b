"""Fill placeholders with visual tokens, close the gaps that unused ones leave, and undo it.

A prompt holds as many placeholders as a clip could need. Only after selection and merging is it known how
many are used. The language model must run on a row without gaps: positions then count the tokens of the row,
and an unused slot costs nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


def used_placeholders(placeholders: Tensor, lengths: list[int], slots: list[int] | None) -> Tensor:
    """Which placeholders get a token: the first n_i of each clip's.

    Args:
        placeholders: (B, S) True where the prompt has the video token.
        lengths: n_i, tokens of each clip, in reading order.
        slots: how many placeholders were written for each clip, if known. Where that does not add up, each
            run of placeholders counts as a clip.

    Raises:
        ValueError: the placeholders do not fit the clips.

    Example:
        >>> row = torch.tensor([[False, True, True, True, False]])
        >>> used_placeholders(row, [2], None).tolist()
        [[False, True, True, False, False]]
    """
    total = int(placeholders.sum())
    if total == sum(lengths):
        return placeholders
    groups = slots if slots is not None and sum(slots) == total else _runs(placeholders)
    if len(groups) != len(lengths) or any(n > group for n, group in zip(lengths, groups)):
        raise ValueError(
            f"the prompt must have placeholders for clips of {lengths} visual tokens, got {groups}: "
            "write them with BVLLMProcessor, built from the model's configuration"
        )
    used = placeholders.clone()
    used[placeholders] = torch.cat([torch.arange(g) < n for n, g in zip(lengths, groups)]).to(used.device)
    return used


@dataclass(frozen=True)
class Packing:
    """Rows without gaps, and where each place of the caller's layout went.

    Attributes:
        keep: (B, S) places that stay.
        filled: (B, P) True where the packed row holds something; the rest is padding.
        source: (B, S) for every place, the packed place it reads its state from. A dropped place reads the
            last one that stays before it, so that a text token right after unused slots is still predicted
            from the last visual token.
    """

    keep: Tensor
    filled: Tensor
    source: Tensor

    @classmethod
    def of(cls, keep: Tensor, *, left: bool) -> "Packing":
        """Close the gaps; `left` says on which side rows are padded to one width."""
        counts = keep.sum(dim=1, keepdim=True)
        width = int(counts.max())
        place = torch.arange(width, device=keep.device)
        start = width - counts if left else torch.zeros_like(counts)
        filled = (place >= start) & (place < start + counts)
        source = start + (keep.long().cumsum(dim=1) - 1).clamp_min(0)
        return cls(keep, filled, source)

    @property
    def mask(self) -> Tensor:
        """(B, P) the packed rows' attention mask."""
        return self.filled.long()

    @property
    def positions(self) -> Tensor:
        """(B, P) positions that skip padding."""
        return positions_of(self.mask)

    def pack(self, x: Tensor, fill: float = 0) -> Tensor:
        """(B, S, ...) -> (B, P, ...)."""
        packed = x.new_full((*self.filled.shape, *x.shape[2:]), fill)
        packed[self.filled] = x[self.keep]
        return packed

    def unpack(self, x: Tensor) -> Tensor:
        """(B, P, D) -> (B, S, D): states in the caller's layout, so that labels and logits still line up."""
        return x.gather(1, self.source[..., None].expand(-1, -1, x.shape[-1]))


def positions_of(mask: Tensor) -> Tensor:
    """(B, S) positions that count what the mask leaves; padding may be on either side."""
    return (mask.long().cumsum(dim=1) - 1).clamp_min(0)


def infer_mask(ids: Tensor, padding: int | None, ends: Sequence[int | None]) -> Tensor | None:
    """(B, S) mask of prompts that came without one: padding at either end of a row is none of the text.

    Args:
        padding: id of padding; None where the model has none.
        ends: ids that end a reply, which a prompt may hold as text.

    Returns:
        None where nothing is padded.

    Raises:
        ValueError: rows are padded with a token that is also text, so that nobody can tell.

    Example:
        >>> infer_mask(torch.tensor([[0, 0, 7], [7, 8, 9]]), 0, [2]).tolist()
        [[0, 0, 1], [1, 1, 1]]
    """
    if padding is None:
        return None
    pads = ids == padding
    edges = pads.cumprod(dim=1).bool() | pads.flip(1).cumprod(dim=1).flip(1).bool()
    if not bool(edges.any()):
        return None
    if padding in ends:
        if len(ids) == 1:
            return None
        raise ValueError(
            "attention_mask must be given for a padded batch whose padding also ends replies, got None: pass "
            "on all that the processor gave"
        )
    return (~edges).long()


def _runs(placeholders: Tensor) -> list[int]:
    """Lengths of the unbroken stretches, row by row."""
    edges = torch.nn.functional.pad(placeholders.long(), (1, 1)).diff(dim=1)
    starts, ends = (edges == 1).nonzero(), (edges == -1).nonzero()
    return (ends[:, 1] - starts[:, 1]).tolist()
