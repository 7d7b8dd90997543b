"""Keep tokens that are unlike a few pivots, whatever attention says: DART."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from bvllm.primitives.assignment import Assignment
from bvllm.stages.prune_layers import InnerMethod, LayerView
from bvllm.stages.schedule import Cut


@dataclass(frozen=True)
class DART(InnerMethod):
    """Before layer 2, 77.8 % of the visual tokens go: the duplicates of others.

    Pivots are the visual tokens and the words of the question whose keys, in the layer that was just run,
    have the largest L1 norm: four of each. Each pivot in turn takes the tokens that are least similar to it
    and not taken yet, by the cosine of the states behind the final norm; visual pivots stay themselves. No
    attention is needed. Positions stay as they were.

    The released code shares the count out equally and may miss it; here the last pivot takes what rounding
    left, so that the count is exact. The paper names no order in which pivots take turns: here visual ones
    come first, then words, each by falling norm.

    Attributes:
        pivots: visual ones, and as many words.
        released: pivots take turns in the order of the released code, that of a Python set of their places.

    Source: DART (arXiv 2502.11494); the authors' module was read in a copy. The share is that of its README;
    its LLaVA code then keeps 4 + 8 x 16 of 576 tokens, 22.9 %.

    Example:
        >>> states = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [3.0, 0.0], [1.0, 0.0]])
        >>> view = LayerView.of_states(states, torch.arange(1, 4))
        >>> DART(pivots=1).decide(view, 2).anchor.tolist()  # the pivot, and what is least like it
        [1, 2]
    """

    paper: ClassVar[str] = "https://arxiv.org/abs/2502.11494"

    cuts: tuple[Cut, ...] = ((2, 0.222),)
    pivots: int = 4
    released: bool = False

    def decide(self, view: LayerView, keep: int) -> Assignment:
        """Keep the visual pivots, and what is least like all pivots."""
        norms = view.before.keys.float().abs().sum(dim=(0, 2))
        own = _largest(norms[view.visual], min(self.pivots, keep))
        words = view.question[_largest(norms[view.question], min(self.pivots, len(view.question)))]
        states = functional.normalize(view.final_norm(view.states).float(), dim=-1)
        pivots = torch.cat([view.visual[own], words])
        if self.released:
            pivots = pivots.new_tensor(list(set(pivots.tolist())))
        likeness = states[pivots] @ states[view.visual].T  # (P, V)
        taken = torch.zeros(len(view.visual), dtype=torch.bool, device=states.device)
        taken[own] = True
        each, rest = divmod(keep - len(own), len(pivots))
        for turn, row in enumerate(likeness, 1):
            share = each + rest if turn == len(pivots) else each
            taken[row.masked_fill(taken, torch.inf).argsort(stable=True)[:share]] = True
        return Assignment.keep(taken.nonzero()[:, 0], len(taken))


def _largest(norms: Tensor, count: int) -> Tensor:
    """(count,) indices by falling norm."""
    return norms.argsort(descending=True, stable=True)[:count]
