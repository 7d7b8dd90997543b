"""ToMe to a budget: merge the most similar tokens until they fit (arXiv 2210.09461)."""

from dataclasses import dataclass
from typing import ClassVar

from bvllm.primitives.assignment import Assignment
from bvllm.stages.merge_tokens import merge_in_rounds
from bvllm.stages.method import Slot, TokenMethod
from bvllm.types import Signals, Tokens


@dataclass(frozen=True)
class ToMe(TokenMethod):
    """Join the most similar couples, round after round, until exactly the budget is left.

    Tokens are alike by the keys of the tower's attention where there are any, as in the paper, else by
    themselves. The paper merges a fixed number in every block of the tower; here all rounds run in one place,
    each of which can halve the tokens at most.

    Source: ToMe (arXiv 2210.09461), through a review of its released code; the paper's text was not at
        hand.

    Example:
        >>> import torch
        >>> tokens = Tokens.of(torch.randn(2, 9, 4), torch.arange(2.0))
        >>> len(ToMe().assign(tokens, 5, Signals()))
        5
    """

    slots: ClassVar[tuple[Slot, ...]] = ("merge_tokens", "sample_tokens")
    paper: ClassVar[str] = "https://arxiv.org/abs/2210.09461"
    conserves: ClassVar[bool] = True

    def assign(self, tokens: Tokens, keep: int, signals: Signals) -> Assignment:
        return merge_in_rounds(tokens, keep, signals.keys)
