"""Keep the tokens that layers still change, and that the question looks at: TransPrune."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from bvllm.primitives.assignment import Assignment
from bvllm.stages.prune_layers import InnerMethod, LayerView, keep_best
from bvllm.stages.schedule import Cut, scaled

SMALL = 1e-8  # keeps a sum of nothing from being divided by


@dataclass(frozen=True)
class TransPrune(InnerMethod):
    """Before layers 7, 9 and 12 of 32, 87.5 %, 62.5 % and 12.5 % of the visual tokens are left.

    Token transition variation says how much layers 6 to 11 change a token so far: of attention and of the
    feed-forward part, the ratio of the norms of output and input times the softmax over the prompt of one
    minus their cosine. Instruction-guided attention is what the token would get from the question, the mean
    over its words and over heads, in the layer that comes next. Each is brought to a sum of 1, and the score
    is their sum. What is left is counted anew.

    Attributes:
        watch: the first of the layers whose changes count.

    Source: TransPrune (arXiv 2507.20630); the released code, read there.

    Example:
        >>> from dataclasses import replace
        >>> import torch
        >>> states = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [3.0, 0.0], [1.0, 0.0]])
        >>> view = LayerView.of_states(states, torch.arange(1, 4))
        >>> changed = replace(view, transitions=torch.tensor([1.0, 0.0, 0.0]))
        >>> [TransPrune().decide(one, 1).anchor.tolist() for one in (view, changed)]
        [[2], [0]]
    """

    paper: ClassVar[str] = "https://arxiv.org/abs/2507.20630"
    renumbers: ClassVar[bool] = True

    cuts: tuple[Cut, ...] = ((7, 0.875), (9, 0.625), (12, 0.125))
    watch: int = 6

    def watched(self, layers: int, first: int = 1) -> range:
        """From the seventh layer of 32, or the one in front of the first cut, to the last cut."""
        cuts = [max(first, scaled(cut, self.depth, layers)) for cut, _ in self.cuts]
        return range(min(scaled(self.watch, self.depth, layers), cuts[0] - 1), cuts[-1])

    def decide(self, view: LayerView, keep: int) -> Assignment:
        """Keep by change and attention together."""
        asked = view.received(view.own, view.question)
        return keep_best(_shared(view.transitions) + _shared(asked), keep)


def _shared(scores: Tensor) -> Tensor:
    return scores / (scores.sum() + SMALL)
