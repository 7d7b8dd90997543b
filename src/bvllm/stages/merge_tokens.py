"""Spatial token merging (B-VLLM, arXiv 2412.09919, Sec. 3.4): fold tokens of a frame until they fit."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from bvllm.primitives.assignment import Assignment
from bvllm.primitives.matching import match_bipartite
from bvllm.primitives.reduction import CHANNELS_AT_A_TIME
from bvllm.stages.method import NO_SIGNALS, Slot, TokenMethod
from bvllm.types import Signals, Tokens


@dataclass(frozen=True)
class BipartiteMerging(TokenMethod):
    """Halve the tokens of each frame by bipartite matching until they fit; no join crosses frames.

    Every frame ends on an equal share of the budget: it is halved until the next halving would overshoot its
    share, and one partial merge lands on it. What does not divide goes to frames spread evenly over the clip,
    and what a frame does not need, to the others. Where frames outnumber the budget they are thinned evenly
    first, and each that stays keeps one token.

    Tokens of a frame are dealt alternately into two sets; the closest couples across become one token, their
    mean in which every token counts by its size, so that merged tokens weigh what they stand for in later
    rounds.

    Source: B-VLLM, Sec. 3.4 ("we halve V**_i*", the tokens of one frame), with the matching of ToMe (arXiv
    2210.09461), Sec. 3. The text halves alone, and so may end far below the limit. Half of an odd number is
    rounded up, and each round deals in reading order (ToMe's code puts what found no partner first, see
    `ToMe.released`). Equal shares and one last partial merge are in the authors' released code, too, at a
    constant of 576 tokens; that what does not divide is shared out, that frames are thinned evenly, and that
    sizes are carried between rounds, as in ToMe, is ours. A frame is a row of S: where duplicates are not
    merged, each copy is halved by itself. Similarity is that of the tokens themselves, as there are no
    attention keys here. `ToMe` in the same slot merges over the whole clip.

    Example:
        >>> import torch
        >>> tokens = Tokens.of(torch.randn(2, 9, 4), torch.arange(2.0))
        >>> merged = tokens.reduce(BipartiteMerging().assign(tokens, keep=5))
        >>> merged.frame.tolist(), float(merged.size.sum())
        ([0, 0, 1, 1, 1], 18.0)
    """

    slots: ClassVar[tuple[Slot, ...]] = ("merge_tokens",)
    paper: ClassVar[str] = "https://arxiv.org/abs/2412.09919"
    conserves: ClassVar[bool] = True

    def assign(self, tokens: Tokens, keep: int, signals: Signals = NO_SIGNALS) -> Assignment:
        """Decide which of K tokens become one, so that `keep` are left (all of them, where K <= keep).

        Raises:
            ValueError: keep is below 1.
        """
        if keep < 1:
            raise ValueError(f"keep must be at least 1, got {keep}: raise budget.tokens")
        _, counts = tokens.by_frame()
        shares = equal_shares(counts.tolist(), keep)
        into, start = torch.arange(len(tokens), device=tokens.features.device), 0
        stays = torch.ones_like(into, dtype=torch.bool)
        for count, share in zip(counts.tolist(), shares):
            here = into[start : start + count]
            if not share:
                stays[here] = False
            elif share < count:
                plan = merge_in_rounds(tokens.at(here), share)
                into[start : start + count] = here[plan.anchor[plan.target]]
            start += count
        left = Assignment.keep(stays.nonzero()[:, 0], len(tokens))
        # Places among what is left: no token joins one of a frame that goes.
        return left.then(Assignment.merge((stays.cumsum(0) - 1)[into[stays]]))


def equal_shares(counts: Sequence[int], keep: int) -> list[int]:
    """How many tokens each frame keeps: as many as the others, none above what it has, `keep` in all.

    Args:
        counts: tokens of each frame.
        keep: tokens of the clip.

    Example:
        >>> equal_shares([8, 8, 8], 10), equal_shares([2, 8, 8], 12), equal_shares([4] * 5, 2)
        ([3, 4, 3], [2, 5, 5], [0, 1, 0, 1, 0])
    """
    shares = [0] * len(counts)
    left = min(keep, sum(counts))
    while left:
        hungry = [k for k, count in enumerate(counts) if shares[k] < count]
        each = left // len(hungry)
        if not each:  # the rest goes to the middle ones of as many equal parts
            for part in range(left):
                shares[hungry[(2 * part + 1) * len(hungry) // (2 * left)]] += 1
            break
        for k in hungry:
            given = min(each, counts[k] - shares[k])
            shares[k] += given
            left -= given
    return shares


def merge_in_rounds(tokens: Tokens, keep: int, keys: Tensor | None = None) -> Assignment:
    """Rounds of bipartite matching, each of which can halve the tokens at most, until `keep` are left.

    What tokens become in one round is compared in the next in float32, whatever comes in: means that were
    rounded to half precision in between would be matched by their rounding.

    Args:
        tokens: what is merged.
        keep: how many are left.
        keys: (K, d) by whose cosine tokens are alike; None takes the tokens' own features.

    Raises:
        ValueError: keep is below 1.
    """
    if keep < 1:
        raise ValueError(f"keep must be at least 1, got {keep}: raise budget.tokens")
    plan = Assignment.identity(len(tokens), tokens.features.device)
    alike, size = (tokens.features if keys is None else keys).detach(), tokens.size
    while len(plan) > keep:
        pairs = min(len(plan) - keep, len(plan) // 2)
        step = Assignment.merge(match_bipartite(alike, pairs))
        plan = plan.then(step)
        if len(plan) > keep:
            alike, size = wide_means(step, alike, size), step.count(size)
    return plan


def compared_keys(by: str, signals: Signals) -> Tensor | None:
    """The tower's keys, where tokens are compared by "keys"; None where by themselves.

    Raises:
        ValueError: no method before has read them.
    """
    if by != "keys":
        return None
    if signals.keys is None:
        raise ValueError(
            'by must be "features" where no keys of the tower were read, got "keys": put a method that '
            "reads them, visionzip for one, in the slot before"
        )
    return signals.keys


def wide_means(step: Assignment, x: Tensor, size: Tensor) -> Tensor:
    """`step.mean` in float32 at least, some channels at a time: no copy of all of (K, C) is made wider."""
    wide = torch.promote_types(x.dtype, torch.float32)
    if x.dtype == wide:
        return step.mean(x, size)
    parts = torch.split(x, CHANNELS_AT_A_TIME, dim=1)
    return torch.cat([step.mean(part.to(wide), size) for part in parts], dim=1)
