"""Let visual tokens go one layer after the other, the least central first: AIM's second part."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from bvllm.primitives.assignment import Assignment
from bvllm.primitives.attention import causal_weights
from bvllm.stages.prune_layers import InnerMethod, LayerView, Projections, keep_best
from bvllm.stages.schedule import Cut

ROUNDS = 5
SHARPNESS = 0.1  # of the softmax


@dataclass(frozen=True)
class AIMInner(InnerMethod):
    """From layer 14 of 28 on, an eighth of the visual tokens goes before every layer, until none is left.

    A token's importance is its PageRank on the attention of the layer that was just run, with a sharpened
    softmax: five rounds from equal shares, without damping, for each head; the heads' root mean square is the
    score. Text always stays. Positions stay as they were.

    The released code masks the tokens; here they are gone. Which layer's attention decides about which layer
    is not in the note: the one just run. Its first part, merging before the language model, is a method of
    another slot.

    Source: AIM (arXiv 2412.03248), from the note on its released code; neither was at hand.
    """

    paper: ClassVar[str] = "https://arxiv.org/abs/2412.03248"
    depth: ClassVar[int] = 28

    cuts: tuple[Cut, ...] = tuple((layer, 1 - (layer - 13) / 8) for layer in range(14, 22))

    def decide(self, view: LayerView, keep: int) -> Assignment:
        """Keep the most central tokens."""
        return keep_best(page_rank(view.before, len(view.states))[view.visual], keep)


def page_rank(of: Projections, places: int) -> Tensor:
    """(S,) importance of every place by the attention among all of them.

    The S x S matrix of one head is held at a time.
    """
    everywhere = torch.arange(places, device=of.keys.device)
    keys, queries = of.keys, of.queries(everywhere)
    each, total = len(queries) // len(keys), torch.zeros(places, device=keys.device)
    for head, asking in enumerate(queries):
        asked = keys[head // each]
        weights = causal_weights(asking[None], asked[None], everywhere, of.scale / SHARPNESS)[0]
        share = torch.full((places,), 1.0 / places, device=keys.device)
        for _ in range(ROUNDS):
            share = share @ weights
        total += share.square()
    return (total / len(queries)).sqrt()
