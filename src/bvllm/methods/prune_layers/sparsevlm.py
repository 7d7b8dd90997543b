"""Keep what the words that matter look at, and fold the best of the rest into a few: SparseVLM."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from bvllm.methods.prune_layers.density import density_centres
from bvllm.primitives.assignment import Assignment
from bvllm.primitives.reduction import Reduction
from bvllm.stages.prune_layers import Folding, InnerMethod, LayerView, best, others
from bvllm.stages.schedule import Cut

RECYCLED = 0.3  # of the dropped tokens
EACH = 10  # recycled tokens in a cluster


@dataclass(frozen=True)
class SparseVLM(InnerMethod):
    """Behind layers 2, 6 and 15 of 32, words of the question say which visual tokens stay.

    The words are chosen once, among the embeddings: those that the visual tokens are more similar to than the
    mean word. A token's score is the attention it gets from these words, the mean over them and over heads,
    in the layer that was just run. Of those that go, the best 30 % (and one) are clustered by density, and
    the means of the clusters, one for every ten (and one), stand behind the kept ones. What is left is
    counted anew.

    A share of `cuts` counts kept tokens and clusters together: 300 + 9, 200 + 4 and 110 + 3 of 576, as the
    released code's table for 192 tokens gives them. Its first version kept as many tokens as a multiple of
    the rank of the attention, behind layers 2, 6, 15 and 19: no budget could be kept. Ties of density are
    broken there by random numbers, here by the order of the tokens; between near copies, and where states are
    so large that every density is 0, its own choice differs from draw to draw.

    Source: SparseVLM (arXiv 2410.04417); from the released code, read there; the paper was not at hand.

    Example:
        >>> states = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [3.0, 0.0], [1.0, 0.0]])
        >>> view = LayerView.of_states(states, torch.arange(1, 4))
        >>> SparseVLM().decide(view, 1).anchor.tolist()
        [2]
    """

    paper: ClassVar[str] = "https://arxiv.org/abs/2410.04417"
    renumbers: ClassVar[bool] = True

    cuts: tuple[Cut, ...] = ((3, 309 / 576), (7, 204 / 576), (16, 113 / 576))

    def decide(self, view: LayerView, keep: int) -> Assignment | Folding:
        """Keep by the raters' attention, and cluster the best of what goes."""
        count = len(view.visual)
        scores = view.received(view.before, raters(view))
        kept = kept_of(count, keep)
        stay = best(scores, kept)
        if kept == keep:
            return Assignment.keep(stay, count)
        rest = others(stay, count)
        recycled = rest[best(scores[rest], recycled_of(count - kept))]
        centres, cluster = density_centres(view.states[view.visual[recycled]], keep - kept)
        output = torch.cat([torch.arange(kept, device=stay.device), kept + cluster])
        means = 1 / torch.bincount(cluster).float()
        weight = torch.cat([torch.ones(kept, device=stay.device), means[cluster]])
        plan = Reduction.of(output, torch.cat([stay, recycled]), weight, keep, count)
        return Folding(plan, torch.cat([stay, recycled[centres]]))


def kept_of(count: int, keep: int) -> int:
    """How many of `keep` outputs are kept tokens; the others are clusters of what is recycled.

    Example:
        >>> kept_of(576, 309), kept_of(309, 204), kept_of(204, 113), kept_of(9, 1)
        (300, 200, 110, 1)
    """
    for kept in range(keep - 1, 0, -1):
        if kept + recycled_of(count - kept) // EACH + 1 <= keep:
            return kept
    return keep


def recycled_of(dropped: int) -> int:
    """How many of the dropped tokens are clustered."""
    return int(dropped * RECYCLED) + 1


def raters(view: LayerView) -> Tensor:
    """Places of the words whose attention counts; all words of the question where none stands out."""
    seen, asked = view.visual_inputs.float(), view.question_inputs.float()
    shares = (seen @ asked.T).softmax(dim=1).mean(dim=0)
    above = shares > shares.mean()
    return view.question[above] if bool(above.any()) else view.question
