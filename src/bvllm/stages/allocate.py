"""Lay down how many tokens each frame may keep, before a token is made."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from bvllm.types import FrameSelection


class BudgetPolicy(Protocol):
    """Shares the tokens of a clip out among its frames."""

    def allocate(self, selection: FrameSelection, tokens: int, patches: int) -> Tensor:
        """Counts (F,), at least 1 and none above `patches`; up to `tokens` in all, or 1 each if frames are
        more.

        Args:
            selection: the chosen frames, with how sure the selection was of each.
            tokens: of the clip.
            patches: N, all that a frame has.
        """
        ...


@dataclass(frozen=True)
class EvenShare:
    """Every frame as many: the fewer frames are left, the more tokens each keeps.

    Where frames outnumber tokens, each gives one, and the slot `merge_tokens` lands on the budget.

    Example:
        >>> chosen = FrameSelection.of(torch.arange(3), torch.arange(3.0))
        >>> EvenShare().allocate(chosen, tokens=10, patches=16).tolist()
        [3, 3, 3]
    """

    def allocate(self, selection: FrameSelection, tokens: int, patches: int) -> Tensor:
        """See `BudgetPolicy.allocate`."""
        frames = len(selection)
        return torch.full((frames,), min(patches, max(1, tokens // frames)))


@dataclass(frozen=True)
class BalancedShare:
    """More tokens for frames of which the selection was surer, and no token left over.

    Counts are proportional to the scores; what a frame cannot hold goes to the others, and what rounding
    leaves to the largest remainders, so the sum is exact wherever the frames have so many patches.

    Source: ours, in the manner of QuoTA, which shares tokens by the relevance of frames; its text was not at
        hand.

    Example:
        >>> chosen = FrameSelection.of(torch.arange(2), torch.arange(2.0))
        >>> BalancedShare().allocate(chosen, tokens=7, patches=4).tolist()
        [4, 3]
    """

    def allocate(self, selection: FrameSelection, tokens: int, patches: int) -> Tensor:
        """See `BudgetPolicy.allocate`."""
        counts = torch.ones(len(selection), dtype=torch.long)
        tokens = min(tokens, len(selection) * patches)
        wanted = selection.scores.detach().double().cpu().nan_to_num(0.0).clamp_min(1e-12)
        while (left := tokens - int(counts.sum())) > 0:
            share = torch.where(counts < patches, wanted, 0.0)
            share = share / share.sum() * left
            given = torch.minimum(share.floor().long(), patches - counts)
            if not int(given.sum()):  # fewer are left than frames: to the largest remainders
                given = torch.zeros_like(counts)
                given[share.argsort(descending=True, stable=True)[:left]] = 1
                given *= counts < patches
            counts = counts + given
        return counts


POLICIES: dict[str, type[EvenShare] | type[BalancedShare]] = {"even": EvenShare, "balanced": BalancedShare}
