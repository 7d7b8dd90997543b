"""AIM's first part: merge alike tokens within frames (arXiv 2412.03248)."""

from dataclasses import dataclass
from typing import ClassVar

from bvllm.primitives.assignment import Assignment
from bvllm.primitives.matching import match_bipartite
from bvllm.primitives.reduction import Reduction
from bvllm.stages.each_frame import PictureMethod
from bvllm.stages.merge_tokens import merge_in_rounds
from bvllm.stages.method import Slot
from bvllm.types import Signals, Tokens


@dataclass(frozen=True)
class AIM(PictureMethod):
    """Fold the tokens of each frame together by bipartite matching, round by round.

    From ratio to count: the authors halve every frame twice. Here each frame goes down to an equal share of
    the budget, halving until the next halving would overshoot and then landing on it, as `bipartite` does:
    with sizes carried between rounds, the two are one. The second part, pruning inside the language model, is
    not a stage.

    Attributes:
        released: as the authors' code: a merged token counts as one token in the next round, so that the mean
            of a mean and a token gives the token half.

    Source: AIM (arXiv 2412.03248), through a review of its released code; the paper's text was not at hand.

    Example:
        >>> import torch
        >>> tokens = Tokens.of(torch.randn(2, 8, 4), torch.arange(2.0))
        >>> len(AIM().assign(tokens, 4, Signals()))
        4
    """

    slots: ClassVar[tuple[Slot, ...]] = ("merge_tokens", "sample_tokens")
    paper: ClassVar[str] = "https://arxiv.org/abs/2412.03248"

    released: bool = False

    def assign_frame(self, tokens: Tokens, keep: int, signals: Signals) -> Assignment | Reduction:
        if not self.released:
            return merge_in_rounds(tokens, keep)
        x = tokens.features.detach()
        plan = Assignment.identity(len(x), x.device).reduction()
        while len(x) > keep:
            pairs = min(len(x) - keep, len(x) // 2)
            step = Assignment.merge(match_bipartite(x, pairs)).reduction()
            x, plan = step.combine(x), plan.then(step)
        return plan
