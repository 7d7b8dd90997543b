"""Lay down how many tokens each frame may keep, before a token is made."""

from dataclasses import dataclass, replace
from math import isqrt
from typing import Protocol

import torch
from torch import Tensor

from bvllm.primitives.matching import unit
from bvllm.stages.by_frame import largest_remainders
from bvllm.stages.merge_tokens import equal_shares
from bvllm.types import FrameSelection

LEAST = 0.5


class BudgetPolicy(Protocol):
    """Shares the tokens of a clip out among its frames."""

    def allocate(self, selection: FrameSelection, tokens: int, patches: int) -> Tensor:
        """Counts (F,), none above `patches`; up to `tokens` in all, or 1 each if frames are more.

        A frame of 0 is left out.

        Args:
            selection: the chosen frames, with how sure the selection was of each.
            tokens: of the clip.
            patches: N, all that a frame has.
        """
        ...


@dataclass(frozen=True)
class EvenShare:
    """Every frame as many: the fewer frames are left, the more tokens each keeps.

    What does not divide goes one by one to frames spread evenly over the clip, so no token is left over
    where the frames have so many patches. Where frames outnumber tokens, each gives one, and the slot
    `merge_tokens` lands on the budget.

    Example:
        >>> chosen = FrameSelection.of(torch.arange(3), torch.arange(3.0))
        >>> EvenShare().allocate(chosen, tokens=10, patches=16).tolist()
        [3, 4, 3]
    """

    def allocate(self, selection: FrameSelection, tokens: int, patches: int) -> Tensor:
        """See `BudgetPolicy.allocate`."""
        frames = len(selection)
        return torch.tensor(equal_shares([patches] * frames, max(tokens, frames)))


@dataclass(frozen=True)
class BalancedShare:
    """More tokens for frames of which the selection was surer, and no token left over.

    Counts are proportional to the scores; what a frame cannot hold goes to the others, and what rounding
    leaves to the largest remainders, so the sum is exact wherever the frames have so many patches.

    Attributes:
        least: share of a frame's patches that a chosen frame should keep on average. A small budget is spent
            on fewer frames, not on less of each: a language model that never saw a frame as two sums of
            patches reads little in them.

    Source: ours, in the manner of QuoTA, which shares tokens by the relevance of frames; its text was not at
        hand.

    Example:
        >>> chosen = FrameSelection.of(torch.arange(2), torch.arange(2.0))
        >>> BalancedShare().allocate(chosen, tokens=7, patches=4).tolist()
        [4, 3]
        >>> BalancedShare(least=0.5).frames(tokens=40, patches=16)
        5
    """

    least: float = LEAST

    def frames(self, tokens: int, patches: int) -> int:
        """The most frames that are worth choosing on a budget, at least 1."""
        return max(1, int(tokens / (self.least * patches)))

    def allocate(self, selection: FrameSelection, tokens: int, patches: int) -> Tensor:
        """See `BudgetPolicy.allocate`."""
        return proportional(selection.scores, torch.full((len(selection),), patches), tokens)


def proportional(scores: Tensor, most: Tensor, total: int) -> Tensor:
    """Counts (n,) in proportion to scores, at least 1 and at most `most` each.

    They sum to `total`, or to n where that is below n, or to the sum of `most` where that is below `total`.

    Args:
        scores: (n,) at least 0.
        most: (n,) at least 1.

    Example:
        >>> proportional(torch.tensor([3.0, 1.0, 1.0]), torch.tensor([4, 9, 9]), 10).tolist()
        [4, 3, 3]
    """
    counts, most = torch.ones(len(scores), dtype=torch.long), most.cpu()
    total = min(total, int(most.sum()))
    wanted = scores.detach().double().cpu().nan_to_num(0.0).clamp_min(1e-12)
    while (left := total - int(counts.sum())) > 0:
        share = torch.where(counts < most, wanted, 0.0)
        share = share / share.sum() * left
        given = torch.minimum(share.floor().long(), most - counts)
        if not int(given.sum()):  # fewer are left than there are to share: to the largest remainders
            given = torch.zeros_like(counts)
            given[share.argsort(descending=True, stable=True)[:left]] = 1
            given *= counts < most
        counts = counts + given
    return counts


@dataclass(frozen=True)
class QuoTAShare:
    """Tokens by the square of how sure each frame is: clear frames get many, doubtful ones few or none.

    A frame's share is (100 p)^2 over the sum of all. What a frame cannot hold goes to the others by their
    shares, and what rounding leaves to the largest remainders, so the sum is exact.

    Attributes:
        released: as the authors' code, version 1: shares are cut to whole numbers, and these to the largest
            grid of s x s or (s + 1) x s that they hold; what that leaves is lost, and so is what a frame
            cannot hold, since a stage does not stretch a frame's grid, as that does.

    Source: QuoTA (arXiv 2503.08689), through a copy of its released code; the paper's text was not at hand.
    There p comes from a helper model that is asked about each frame; here it is the selection's score.

    Example:
        >>> from dataclasses import replace
        >>> chosen = FrameSelection.of(torch.arange(2), torch.arange(2.0))
        >>> chosen = replace(chosen, scores=torch.tensor([0.8, 0.4]))
        >>> QuoTAShare().allocate(chosen, tokens=10, patches=16).tolist()
        [8, 2]
    """

    released: bool = False

    def allocate(self, selection: FrameSelection, tokens: int, patches: int) -> Tensor:
        """See `BudgetPolicy.allocate`."""
        p = selection.scores.detach().double().cpu().nan_to_num(0.0).clamp_min(1e-6)
        share = p.square() / p.square().sum()
        if self.released:
            counts = [_near_square(min(patches, int(n))) for n in share * tokens]
            best = int(share.argmax())
            counts[best] = max(1, counts[best])
            return torch.tensor(counts)
        return torch.tensor(_shared(share, tokens, patches))


def _near_square(count: int) -> int:
    """The most cells of s x s or (s + 1) x s that a count holds.

    Example:
        >>> [_near_square(n) for n in (0, 3, 6, 26)]
        [0, 2, 6, 25]
    """
    side = isqrt(count)
    return side * (side + 1) if side * (side + 1) <= count else side * side


@dataclass(frozen=True)
class ContentShare(BalancedShare):
    """Tokens by what a frame shows and by the question: many for a rich frame that the selection was sure of.

    A frame's share is in proportion to its score, which follows the question, times its `variety`, which
    follows its patches: a blank wall is told in a few tokens however much it is asked about. Without patches
    (`allocate` alone) it is `BalancedShare`.

    Source: ours, and not in the paper: the R of B-VLLM (arXiv 2412.09919) is the same for all frames (Sec.
        3.4), and Sec. 8.6 finds its spatial tokens underused. No model was trained with it, so there is no
        figure.

    Example:
        >>> chosen = FrameSelection.of(torch.arange(2), torch.arange(2.0))
        >>> patches = torch.stack([torch.ones(4, 3), torch.eye(4, 3)])
        >>> seen = ContentShare().weighed(chosen, patches)
        >>> ContentShare().allocate(seen, tokens=5, patches=4).tolist()
        [1, 4]
    """

    def weighed(self, selection: FrameSelection, patches: Tensor) -> FrameSelection:
        """The selection with scores that count what its frames (F, N, C) show."""
        seen = variety(patches).to(selection.scores)
        return replace(selection, scores=selection.scores * seen)


def variety(patches: Tensor) -> Tensor:
    """(F, N, C) -> (F,) in [0, 1]: how unlike the patches of a frame are; 0 where all point one way.

    It is 1 less the mean cosine of all pairs, at the cost of one mean.

    Example:
        >>> variety(torch.stack([torch.ones(2, 2), torch.eye(2)])).tolist()
        [0.0, 0.5]
    """
    return (1 - unit(patches.detach()).mean(dim=1).square().sum(dim=-1)).clamp(0, 1).round(decimals=6)


def _shared(share: Tensor, tokens: int, most: int) -> list[int]:
    """Whole numbers in proportion to (F,) shares above 0, none above `most`, `tokens` in all if they hold it.

    Example:
        >>> _shared(torch.tensor([0.9, 0.1, 0.1]), 10, 6)
        [6, 2, 2]
    """
    ideal, free = torch.zeros_like(share), torch.ones_like(share, dtype=torch.bool)
    while bool(free.any()):
        left = tokens - most * int((~free).sum())
        ideal[free] = share[free] / share[free].sum() * left
        full = free & (ideal > most)
        if not bool(full.any()):
            break
        ideal[full], free = most, free & ~full
    return largest_remainders(ideal.tolist(), [most] * len(share), tokens)


POLICIES: dict[str, type[EvenShare] | type[BalancedShare] | type[QuoTAShare]] = {
    "even": EvenShare,
    "balanced": BalancedShare,
    "quota": QuoTAShare,
    "content": ContentShare,
}
