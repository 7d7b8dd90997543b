"""Keep the visual tokens that the prompt's last token attends to: FastV."""

from dataclasses import dataclass
from typing import ClassVar

from bvllm.primitives.assignment import Assignment
from bvllm.stages.prune_layers import InnerMethod, LayerView, keep_best
from bvllm.stages.schedule import Cut


@dataclass(frozen=True)
class FastV(InnerMethod):
    """Before layer K = 2, half of the visual tokens go: those that layer K - 1 looked at least.

    A token's score is the attention that it gets from the prompt's last token, the mean over heads, in the
    layer that was just run. Positions stay as they were.

    Reviews of the paper speak of the attention from all places; the released code asks the last alone.

    Source: FastV (arXiv 2403.06764); K = 2 and R = 50 %, the released code's defaults, read there.

    Example:
        >>> import torch
        >>> states = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [3.0, 0.0], [1.0, 0.0]])
        >>> view = LayerView.of_states(states, torch.arange(1, 4))
        >>> FastV().decide(view, 1).anchor.tolist()
        [2]
    """

    paper: ClassVar[str] = "https://arxiv.org/abs/2403.06764"

    cuts: tuple[Cut, ...] = ((2, 0.5),)

    def decide(self, view: LayerView, keep: int) -> Assignment:
        """Keep the tokens that the last place attends to most."""
        return keep_best(view.received(view.before, view.last), keep)
