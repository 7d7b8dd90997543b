"""Keep the visual tokens that the prompt attends to most: FastV."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from bvllm.primitives.assignment import Assignment
from bvllm.stages.prune_layers import InnerMethod, LayerView, keep_best
from bvllm.stages.schedule import Cut


@dataclass(frozen=True)
class FastV(InnerMethod):
    """Before layer K = 2, half of the visual tokens go: those that layer K - 1 looked at least.

    A token's score is the attention that it gets, the mean over heads and over all tokens of the prompt, in
    the layer that was just run. Positions stay as they were.

    Attributes:
        released: as the released code scores: the attention of the prompt's last token alone.

    Source: FastV (arXiv 2403.06764): "the average attention-score one token received from all other tokens";
    the released code was read. K = 2 and R = 50 % are one row of its README and one of its scripts' settings;
    others have K = 3, or keep 72 to 432 tokens.

    Example:
        >>> states = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [3.0, 0.0], [1.0, 0.0]])
        >>> view = LayerView.of_states(states, torch.arange(1, 4))
        >>> FastV(released=True).decide(view, 1).anchor.tolist()
        [2]
    """

    paper: ClassVar[str] = "https://arxiv.org/abs/2403.06764"

    cuts: tuple[Cut, ...] = ((2, 0.5),)
    released: bool = False

    def decide(self, view: LayerView, keep: int) -> Assignment:
        """Keep the tokens that all places, or the last alone, attend to most."""
        every = torch.arange(len(view.states), device=view.states.device)
        return keep_best(view.received(view.before, view.last if self.released else every), keep)
