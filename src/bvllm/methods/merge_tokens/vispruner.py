"""VisPruner: half of the tokens by [CLS] attention, half by being unlike the others (arXiv 2412.01818)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from bvllm.primitives.assignment import Assignment
from bvllm.primitives.choice import strongest
from bvllm.primitives.matching import cosine
from bvllm.stages.each_frame import PictureMethod
from bvllm.stages.method import Slot
from bvllm.stages.reading import Reading
from bvllm.types import SignalName, Signals, Tokens

AT_A_TIME = 8  # patches that one pass deletes


@dataclass(frozen=True)
class VisPruner(PictureMethod):
    """Keep the important patches of each frame, and of the others the diverse ones; nothing merges.

    Important are those with the most attention of [CLS]. The others are dealt alternately into two sets, the
    strongest first; the eight of the first set that have the most similar partner in the second are deleted,
    again and again, until as many are left as are wanted. Without [CLS], received attention counts.

    Attributes:
        important: share of the tokens that go by attention.

    Source: VisPruner (arXiv 2412.01818, from the second version on; the first is FasterVLM), through its
        released code; the paper's text was not at hand.

    Example:
        >>> x = torch.tensor([[[0.0, 1.0], [1.0, 0.0], [1.0, 0.1], [-1.0, 0.0]]])
        >>> seen = Signals(attention=torch.tensor([0.7, 0.1, 0.1, 0.1]))
        >>> VisPruner().assign(Tokens.of(x, torch.zeros(1)), 3, seen).anchor.tolist()
        [0, 2, 3]
    """

    slots: ClassVar[tuple[Slot, ...]] = ("merge_tokens", "sample_tokens")
    paper: ClassVar[str] = "https://arxiv.org/abs/2412.01818"
    needs: ClassVar[frozenset[SignalName]] = frozenset({"attention"})
    reads: ClassVar[Reading] = Reading(("cls", "received"))

    important: float = 0.5

    def assign_frame(self, tokens: Tokens, keep: int, signals: Signals) -> Assignment:
        assert signals.attention is not None
        order = strongest(signals.attention, len(tokens))
        first = int(keep * self.important)
        kept, others = order[:first], order[first:]
        diverse = others[unlike_ones(tokens.features[others].detach(), keep - first)]
        return Assignment.keep(torch.cat([kept, diverse]), len(tokens))


def unlike_ones(x: Tensor, keep: int) -> Tensor:
    """What is left of n rows when those that have a copy are deleted, a few at a time: (keep,).

    Args:
        x: (n, C), in the order in which they are dealt.
        keep: at most n.

    Example:
        >>> unlike_ones(torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]]), 2).tolist()
        [2, 1]
    """
    alike, left = cosine(x), torch.arange(len(x), device=x.device)
    while len(left) > max(keep, 1):
        even, odd = left[::2], left[1::2]
        gone = min(AT_A_TIME, len(left) - keep, len(even))
        best = alike[even][:, odd].amax(dim=-1)
        left = torch.cat([even[strongest(best, len(even))[gone:]], odd])
    return left[:keep]
