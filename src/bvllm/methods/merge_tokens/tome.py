"""ToMe to a budget: merge the most similar tokens until they fit (arXiv 2210.09461)."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from bvllm.primitives.assignment import Assignment
from bvllm.stages.merge_tokens import merge_in_rounds
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

    by: Literal["features", "keys"] = "features"

    def assign(self, tokens: Tokens, keep: int, signals: Signals) -> Assignment:
        if self.by == "keys" and signals.keys is None:
            raise ValueError(
                'by must be "features" where no keys of the tower were read, got "keys": put a method that '
                "reads them, visionzip for one, in the slot before"
            )
        return merge_in_rounds(tokens, keep, signals.keys if self.by == "keys" else None)
