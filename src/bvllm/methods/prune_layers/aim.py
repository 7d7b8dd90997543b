"""Let visual tokens go one layer after the other, the least central first: AIM's second part."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from bvllm.primitives.assignment import Assignment
from bvllm.primitives.attention import causal_blocks
from bvllm.stages.prune_layers import InnerMethod, LayerView, Projections, keep_best
from bvllm.stages.schedule import Cut

ROUNDS = 5
SHARPNESS = 0.1  # of the softmax


@dataclass(frozen=True)
class AIMInner(InnerMethod):
    """From layer 15 of 28 on, an eighth of the visual tokens goes before every layer; the 23rd sees none.

    Where whole tokens do not divide, a little less is pruned than published, and one token or a few may stay.

    A token's importance is its PageRank on the attention of the layer that was just run, with a sharpened
    softmax: five rounds from equal shares, without damping, for each head; the heads' root mean square is the
    score. Text always stays. Positions stay as they were.

    The released code counts a share after each layer, from 7/8 after layer 14 (counted from 0) to none after
    layer 21, and the next layer sees it; that is the paper's fall from l1 = 14 to l2 = 22. It masks the
    tokens, which go on asking (in the first round of the ranking they still hand out their share); here they
    are gone. Its first part, merging before the language model, is a method of another slot.

    Source: AIM (arXiv 2412.03248); the released code, read there in a co-author's copy. The paper was not at
    hand; l1 and l2 after a summary of it.

    Example:
        >>> states = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [3.0, 0.0], [1.0, 0.0]])
        >>> view = LayerView.of_states(states, torch.arange(1, 4))
        >>> AIMInner().decide(view, 1).anchor.tolist()
        [2]
    """

    paper: ClassVar[str] = "https://arxiv.org/abs/2412.03248"
    depth: ClassVar[int] = 28

    cuts: tuple[Cut, ...] = tuple((layer, 1 - (layer - 14) / 8) for layer in range(15, 23))

    def decide(self, view: LayerView, keep: int) -> Assignment:
        """Keep the most central tokens."""
        return keep_best(page_rank(view.before, len(view.states))[view.visual], keep)


def page_rank(of: Projections, places: int) -> Tensor:
    """(S,) importance of every place by the attention among all of them.

    The lower half of one head's S x S matrix is held at a time.
    """
    keys, queries = of.keys, of.queries(torch.arange(places, device=of.keys.device))
    each, total = len(queries) // len(keys), torch.zeros(places, device=keys.device)
    for head, asking in enumerate(queries):
        blocks = causal_blocks(asking, keys[head // each], of.scale / SHARPNESS)
        share = blocks[0].new_full((places,), 1.0 / places)
        for _ in range(ROUNDS):
            given = torch.zeros_like(share)
            for part, block in zip(torch.split(share, len(blocks[0])), blocks):
                given[: block.shape[1]] += part @ block
            share = given
        total += share.square()
    return (total / len(queries)).sqrt()
