"""Fold what the last token does not look at into the tokens most like it: HoliTom's inner merging."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch.nn import functional

from bvllm.primitives.reduction import Reduction
from bvllm.stages.prune_layers import Folding, InnerMethod, LayerView, others
from bvllm.stages.schedule import Cut


@dataclass(frozen=True)
class HoliTomInner(InnerMethod):
    """Before layer 18 of 28, half of the visual tokens are folded into the other half.

    A token stays by the attention that it gets from the prompt's last token, the mean over heads, in the
    layer that was just run. Each other one joins the staying token that it is most similar to, by cosine (of
    equals, the one that is attended to most): one after the other, the mean of the two, so that the last to
    join weighs a half. Positions stay as they were.

    Its outer part, before the language model, is a method of another slot.

    Source: HoliTom (arXiv 2505.21334); the released code, read there, with its README's settings.

    Example:
        >>> states = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [3.0, 0.0], [1.0, 0.0]])
        >>> view = LayerView.of_states(states, torch.arange(1, 4))
        >>> HoliTomInner().decide(view, 2).combine(states[1:4], torch.ones(3)).tolist()
        [[1.0, 0.0], [1.5, 0.5]]
    """

    paper: ClassVar[str] = "https://arxiv.org/abs/2505.21334"
    depth: ClassVar[int] = 28

    cuts: tuple[Cut, ...] = ((18, 0.5),)

    def decide(self, view: LayerView, keep: int) -> Folding:
        """Keep by the last place's attention; fold the others in, in the order of the prompt."""
        count = len(view.visual)
        # Of equally similar tokens, the one that is looked at most takes others in.
        ranked = view.received(view.before, view.last).argsort(descending=True, stable=True)[:keep]
        stay = ranked.sort().values
        rest = others(stay, count)
        states = functional.normalize(view.states[view.visual].float(), dim=-1)
        target = torch.searchsorted(stay, ranked[(states[rest] @ states[ranked].T).argmax(dim=1)])
        joined = torch.bincount(target, minlength=keep)
        # The m-th of n to join is halved n - m more times, and once itself.
        by_target = target.argsort(stable=True)
        begins = joined.cumsum(dim=0) - joined
        turn = torch.empty_like(target)
        turn[by_target] = torch.arange(len(target), device=target.device) - begins[target[by_target]]
        weight = torch.cat([0.5 ** joined.double(), 0.5 ** (joined[target] - turn).double()])
        output = torch.cat([torch.arange(keep, device=stay.device), target])
        return Folding(Reduction.of(output, torch.cat([stay, rest]), weight, keep, count), stay)
