"""ToMe to a budget: merge the most similar tokens until they fit (arXiv 2210.09461)."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from bvllm.primitives.assignment import Assignment
from bvllm.primitives.matching import closest_pairs
from bvllm.stages.merge_tokens import compared_keys, merge_in_rounds, wide_means
from bvllm.stages.method import Slot, TokenMethod
from bvllm.types import Signals, Tokens


@dataclass(frozen=True)
class ToMe(TokenMethod):
    """Join the most similar couples, round after round, until exactly the budget is left.

    Tokens are alike by themselves, whatever the slot before has read of the tower. The paper compares the
    keys of the tower's attention: `by="keys"` does, where a method in the slot before brings them. It merges
    a fixed number in every block of the tower; here all rounds run in one place, each of which can halve the
    tokens at most.

    Attributes:
        by: what is compared, "features" or "keys".
        released: rounds deal the tokens as the authors' code does, in the order in which the round before
            leaves them: first those that found no partner, the most alike of these first; else in reading
            order. Where [CLS] is a token, the code's first round deals odd patches first; a slot sees
            patches only.

    Source: ToMe (arXiv 2210.09461), through its released code (`bipartite_soft_matching`); the paper's text
        was not at hand.

    Example:
        >>> tokens = Tokens.of(torch.randn(2, 9, 4), torch.arange(2.0))
        >>> len(ToMe().assign(tokens, 5, Signals()))
        5
    """

    slots: ClassVar[tuple[Slot, ...]] = ("merge_tokens", "sample_tokens")
    paper: ClassVar[str] = "https://arxiv.org/abs/2210.09461"
    conserves: ClassVar[bool] = True

    by: Literal["features", "keys"] = "features"
    released: bool = False

    def assign(self, tokens: Tokens, keep: int, signals: Signals) -> Assignment:
        keys = compared_keys(self.by, signals)
        return (_as_the_code if self.released else merge_in_rounds)(tokens, keep, keys)


def _as_the_code(tokens: Tokens, keep: int, keys: Tensor | None) -> Assignment:
    """`merge_in_rounds`, whose next round deals tokens in the order in which this one leaves them.

    Example:
        >>> tokens = Tokens.of(torch.tensor([[[1.0, 0.0], [0.0, 1.0], [0.1, 1.0]]]), torch.zeros(1))
        >>> _as_the_code(tokens, 2, None).target.tolist()
        [0, 1, 1]
    """
    plan = Assignment.identity(len(tokens), tokens.features.device)
    alike, size = (tokens.features if keys is None else keys).detach(), tokens.size
    order = torch.arange(len(tokens), device=alike.device)  # row of `plan` at each place of the code's list
    while len(plan) > keep:
        dealt, pairs = alike[order], min(len(plan) - keep, len(plan) // 2)
        ranked, goal = closest_pairs(dealt, len(dealt) // 2)
        even = torch.arange(0, len(dealt), 2, device=order.device)
        staying = torch.cat([ranked, even[~torch.isin(even, ranked)]])[pairs:]
        odd = torch.arange(1, len(dealt), 2, device=order.device)
        into = torch.arange(len(plan), device=order.device)
        into[order[ranked[:pairs]]] = order[goal[:pairs]]
        step = Assignment.merge(into)
        order = step.target[order[torch.cat([staying, odd])]]
        alike, size, plan = wide_means(step, alike, size), step.count(size), plan.then(step)
    return plan
