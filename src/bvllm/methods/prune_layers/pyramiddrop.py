"""Keep fewer and fewer of the visual tokens that the prompt's last token looks for: PyramidDrop."""

from dataclasses import dataclass
from typing import ClassVar

from bvllm.primitives.assignment import Assignment
from bvllm.stages.prune_layers import InnerMethod, LayerView, keep_best
from bvllm.stages.schedule import Cut


@dataclass(frozen=True)
class PyramidDrop(InnerMethod):
    """Before layers 8, 16 and 24 of 32, the count is halved.

    A token's score is the attention that it would get from the prompt's last token, the mean over heads, in
    the layer that comes next: its norm and projections are applied before the tokens enter it. What is left
    is counted anew.

    Source: PyramidDrop (arXiv 2410.17247); layers and shares of the released code, read there.

    Example:
        >>> import torch
        >>> states = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [3.0, 0.0], [1.0, 0.0]])
        >>> view = LayerView.of_states(states, torch.arange(1, 4))
        >>> PyramidDrop().decide(view, 1).anchor.tolist()
        [2]
    """

    paper: ClassVar[str] = "https://arxiv.org/abs/2410.17247"
    renumbers: ClassVar[bool] = True

    cuts: tuple[Cut, ...] = ((8, 0.5), (16, 0.25), (24, 0.125))

    def decide(self, view: LayerView, keep: int) -> Assignment:
        """Keep the tokens that the last place would attend to most."""
        return keep_best(view.received(view.own, view.last), keep)
