"""AIM's first part: merge alike tokens within frames (arXiv 2412.03248)."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from bvllm.primitives.assignment import Assignment
from bvllm.primitives.matching import cosine
from bvllm.primitives.reduction import Reduction
from bvllm.stages.each_frame import PictureMethod
from bvllm.stages.merge_tokens import compared_keys, merge_in_rounds
from bvllm.stages.method import Slot
from bvllm.types import Signals, Tokens


@dataclass(frozen=True)
class AIM(PictureMethod):
    """Fold the tokens of each frame together by bipartite matching, round by round.

    From ratio to count: the authors halve every frame of a video twice. Here each frame goes down to an equal
    share of the budget, halving until the next halving would overshoot and then landing on it, as `bipartite`
    does: with sizes carried between rounds, the two are one. What is left stays in reading order; the code's
    own order is not kept. The second part, pruning inside the language model, is `prune_layers` `aim`.

    Attributes:
        by: what is compared: tokens, as the authors do with videos, or the "keys" of the tower, as they do
            with pictures, where a method in the slot before brings them. Theirs are of all heads of the
            tower's last layer.
        released: as the authors' code: a merged token counts as one token in the next round, so that the mean
            of a mean and a token gives the token half; and the next round deals tokens in the order in which
            this one leaves them, first those that found no partner, the most alike of these first.

    Source: AIM (arXiv 2412.03248), through its released code (`bipartite_soft_matching_merge`); the paper's
    text was not at hand.

    Example:
        >>> import torch
        >>> tokens = Tokens.of(torch.randn(2, 8, 4), torch.arange(2.0))
        >>> len(AIM().assign(tokens, 4, Signals()))
        4
    """

    slots: ClassVar[tuple[Slot, ...]] = ("merge_tokens", "sample_tokens")
    paper: ClassVar[str] = "https://arxiv.org/abs/2412.03248"
    conserves: ClassVar[bool] = True

    by: Literal["features", "keys"] = "features"
    released: bool = False

    def assign_frame(self, tokens: Tokens, keep: int, signals: Signals) -> Assignment | Reduction:
        keys = compared_keys(self.by, signals)
        if not self.released:
            return merge_in_rounds(tokens, keep, keys)
        x = (tokens.features if keys is None else keys).detach()
        x = x.to(torch.promote_types(x.dtype, torch.float32))  # rounds are compared as they came out
        plan = Assignment.identity(len(x), x.device).reduction()
        while len(x) > keep:
            pairs = min(len(x) - keep, len(x) // 2)
            step = _as_the_code(x, pairs)
            x, plan = step.combine(x), plan.then(step)
        return plan


def _as_the_code(x: Tensor, pairs: int) -> Reduction:
    """One round of the authors' matching: even rows that stay, then odd rows, meaned with what joins them.

    Example:
        >>> x = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.1, 1.0]])
        >>> _as_the_code(x, pairs=1).input.tolist()
        [0, 1, 2]
    """
    alike, goal = cosine(x[::2], x[1::2]).max(dim=1)
    order = alike.argsort(descending=True, stable=True)
    merging, staying = order[:pairs], order[pairs:]
    odd = torch.arange(len(x) // 2, device=x.device)
    output = torch.cat([torch.arange(len(staying), device=x.device), len(staying) + odd])
    output = torch.cat([output, len(staying) + goal[merging]])
    share = 1 / torch.bincount(output)
    input = torch.cat([2 * staying, 2 * odd + 1, 2 * merging])
    return Reduction.of(output, input, share[output], len(x) - pairs, len(x))
