"""Spatial token merging (B-VLLM, arXiv 2412.09919, Sec. 3.4): fold tokens together until they fit."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from bvllm.primitives.assignment import Assignment
from bvllm.primitives.matching import match_bipartite
from bvllm.stages.method import NO_SIGNALS, Slot, TokenMethod
from bvllm.types import Signals, Tokens


@dataclass(frozen=True)
class BipartiteMerging(TokenMethod):
    """Halve by bipartite matching until the next halving would overshoot; one partial merge lands on `keep`.

    Tokens are dealt alternately into two sets; the closest couples across become one token, their mean in
    which every token counts by its size, so that merged tokens weigh what they stand for in later rounds.

    Source: B-VLLM, Sec. 3.4, with the matching of ToMe (arXiv 2210.09461), Sec. 3. Sizes are carried between
    rounds as in ToMe; the authors' released code forgets them. Similarity is that of the tokens themselves,
    as there are no attention keys here.

    Example:
        >>> import torch
        >>> tokens = Tokens.of(torch.randn(2, 9, 4), torch.arange(2.0))
        >>> plan = BipartiteMerging().assign(tokens, keep=5)
        >>> len(tokens.reduce(plan)), float(tokens.reduce(plan).size.sum())
        (5, 18.0)
    """

    slots: ClassVar[tuple[Slot, ...]] = ("merge_tokens",)
    paper: ClassVar[str] = "https://arxiv.org/abs/2412.09919"

    def assign(self, tokens: Tokens, keep: int, signals: Signals = NO_SIGNALS) -> Assignment:
        """Decide which of K tokens become one, so that `keep` are left (all of them, where K <= keep).

        Raises:
            ValueError: keep is below 1.
        """
        return merge_in_rounds(tokens, keep)


def merge_in_rounds(tokens: Tokens, keep: int, keys: Tensor | None = None) -> Assignment:
    """Rounds of bipartite matching, each of which can halve the tokens at most, until `keep` are left.

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
    while len(tokens) > keep:
        pairs = min(len(tokens) - keep, len(tokens) // 2)
        alike = tokens.features if keys is None else keys
        step = Assignment.merge(match_bipartite(alike.detach(), pairs))
        keys = None if keys is None else step.mean(keys, tokens.size)
        tokens, plan = tokens.reduce(step), plan.then(step)
    return plan
