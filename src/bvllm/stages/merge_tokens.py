"""Spatial token merging (B-VLLM, arXiv 2412.09919, Sec. 3.4): fold tokens together until they fit."""

from dataclasses import dataclass

from bvllm.primitives.assignment import Assignment
from bvllm.primitives.matching import match_bipartite
from bvllm.types import Tokens


@dataclass(frozen=True)
class BipartiteMerging:
    """Halve by bipartite matching until the next halving would overshoot; one partial merge lands on `keep`.

    Tokens are dealt alternately into two sets; the closest couples across become one token, their mean in
    which every token counts by its size, so that merged tokens weigh what they stand for in later rounds.

    Source: B-VLLM, Sec. 3.4, with the matching of ToMe (arXiv 2210.09461), Sec. 3. Sizes are carried between
    rounds as in ToMe; the authors' released code forgets them. Similarity is that of the tokens themselves,
    as there are no attention keys here.

    Example:
        >>> import torch
        >>> from bvllm.types import Clip
        >>> tokens = Clip.of(torch.randn(2, 9, 4), torch.arange(2.0)).tokens()
        >>> plan = BipartiteMerging().assign(tokens, keep=5)
        >>> len(tokens.reduce(plan)), float(tokens.reduce(plan).size.sum())
        (5, 18.0)
    """

    def assign(self, tokens: Tokens, keep: int) -> Assignment:
        """Decide which of K tokens become one, so that `keep` are left (all of them, where K <= keep).

        Errors:
            ValueError where keep is below 1.
        """
        if keep < 1:
            raise ValueError(f"keep must be at least 1, got {keep}: raise budget.tokens")
        plan = Assignment.identity(len(tokens), tokens.features.device)
        while len(tokens) > keep:
            pairs = min(len(tokens) - keep, len(tokens) // 2)
            step = Assignment.merge(match_bipartite(tokens.features.detach(), pairs))
            tokens, plan = tokens.reduce(step), plan.then(step)
        return plan
