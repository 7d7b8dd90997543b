"""Keep the visual tokens that others look at, and fold the rest into a few: VisionDrop's inner stages."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch.nn import functional

from bvllm.primitives.assignment import Assignment
from bvllm.primitives.reduction import Reduction
from bvllm.stages.prune_layers import Folding, InnerMethod, LayerView, best, others
from bvllm.stages.schedule import Cut

CONTEXTUAL = 0.15  # of what stays: 5 of 35, 4 of 26, 3 of 19 in the released code


@dataclass(frozen=True)
class VisionDropInner(InnerMethod):
    """Before layers 8, 16 and 24 of 32, whatever the question, visual tokens choose among themselves.

    Dominant tokens are those that get most attention from visual tokens, the mean over them and over heads,
    in the layer that comes next. Of the others every n-th is a centre, which the rest join by the cosine of
    their keys, the mean over heads: a contextual token is its centre plus the mean of what joined it. They
    stand behind the dominant ones. What is left is counted anew.

    The released counts are 30 + 5, 22 + 4 and 16 + 3 of 48, which its stage in the vision tower leaves; that
    stage is a method of another slot. A sum of two states has about twice their norm (`convex` halves it).

    Attributes:
        convex: make a contextual token the mean of its centre and of the mean of what joined it.

    Source: VisionDrop (arXiv 2506.22283); the released code, read there.

    Example:
        >>> states = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [3.0, 0.0], [1.0, 0.0]])
        >>> view = LayerView.of_states(states, torch.arange(1, 4))
        >>> VisionDropInner().decide(view, 1).anchor.tolist()
        [2]
    """

    paper: ClassVar[str] = "https://arxiv.org/abs/2506.22283"
    renumbers: ClassVar[bool] = True

    cuts: tuple[Cut, ...] = ((8, 35 / 48), (16, 26 / 48), (24, 19 / 48))
    convex: bool = False

    def decide(self, view: LayerView, keep: int) -> Assignment | Folding:
        """Keep dominant tokens, and fold the others into contextual ones."""
        count, contextual = len(view.visual), round(keep * CONTEXTUAL)
        stay = best(view.received(view.own, view.visual), keep - contextual)
        if not contextual:
            return Assignment.keep(stay, count)
        rest = others(stay, count)
        every = torch.arange(0, len(rest), max(1, len(rest) // contextual), device=stay.device)
        centres = every[:contextual]
        joining = others(centres, len(rest))
        keys = functional.normalize(view.own.keys.float().mean(dim=0)[view.visual[rest]], dim=-1)
        target = (keys[joining] @ keys[centres].T).argmax(dim=1)
        joined = torch.bincount(target, minlength=contextual)
        share = 0.5 if self.convex else 1.0
        own = torch.where(joined > 0, share, 1.0)
        output = torch.arange(keep, device=stay.device)
        first = len(stay)
        plan = Reduction.of(
            torch.cat([output, first + target]),
            torch.cat([stay, rest[centres], rest[joining]]),
            torch.cat([torch.ones_like(stay, dtype=own.dtype), own, (share / joined)[target]]),
            keep,
            count,
        )
        return Folding(plan, torch.cat([stay, rest[centres]]))
