"""DivPrune: keep the most diverse tokens (arXiv 2503.02175)."""

from dataclasses import dataclass
from typing import ClassVar

from bvllm.primitives.assignment import Assignment
from bvllm.primitives.matching import farthest_first
from bvllm.stages.method import Slot, TokenMethod
from bvllm.types import Signals, Tokens


@dataclass(frozen=True)
class DivPrune(TokenMethod):
    """Choose tokens so that the two closest of them are as far apart as can be, greedily.

    Needs no attention and no question, so it runs before the language model on any encoder. The authors
    decide over the embeddings behind the projector; here it decides over what stands in the slot, which in
    front of a projector are the patches.

    Source: DivPrune (arXiv 2503.02175), through LightCompress's copy of its released code; the paper's
        text was not at hand.

    Example:
        >>> import torch
        >>> tokens = Tokens.of(torch.tensor([[[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]]]), torch.zeros(1))
        >>> DivPrune().assign(tokens, 2, Signals()).anchor.tolist()
        [0, 2]
    """

    slots: ClassVar[tuple[Slot, ...]] = ("sample_tokens", "merge_tokens")
    paper: ClassVar[str] = "https://arxiv.org/abs/2503.02175"

    def assign(self, tokens: Tokens, keep: int, signals: Signals) -> Assignment:
        return Assignment.keep(farthest_first(tokens.features.detach(), keep), len(tokens))
