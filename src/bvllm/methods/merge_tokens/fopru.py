"""FoPru: keep the patches, or the rows of patches, that get the most attention (arXiv 2411.14164)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from bvllm.methods.merge_tokens.fastervlm import FasterVLM
from bvllm.primitives.assignment import Assignment
from bvllm.primitives.choice import strongest
from bvllm.stages.reading import Reading
from bvllm.types import Signals, Tokens


@dataclass(frozen=True)
class FoPru(FasterVLM):
    """The rank strategy: keep, of each frame, the patches of the highest significance.

    Significance is the attention of [CLS] in the layer whose output the patches are; without [CLS], the
    attention that a patch receives from all others.

    Source: FoPru (arXiv 2411.14164), from its abstract and a review; the layer is ours.

    Example:
        >>> tokens = Tokens.of(torch.eye(4)[None], torch.zeros(1))
        >>> FoPru().assign(tokens, 2, Signals(attention=torch.tensor([0.1, 0.4, 0.2, 0.3]))).anchor.tolist()
        [1, 3]
    """

    paper: ClassVar[str] = "https://arxiv.org/abs/2411.14164"
    reads: ClassVar[Reading] = Reading(("cls", "received"))


@dataclass(frozen=True)
class FoPruRows(FoPru):
    """The row strategy: keep whole rows of patches, those of the highest significance in all.

    A line of text lies in a row, and half of it is worth little. Where the count is no multiple of a row, the
    best patches of the next row fill it; that is ours.

    Source: FoPru (arXiv 2411.14164), from its abstract and a review; the layer is ours.

    Example:
        >>> tokens = Tokens.of(torch.eye(4)[None], torch.zeros(1), columns=2)
        >>> seen = Signals(attention=torch.tensor([0.0, 0.5, 0.3, 0.3]))
        >>> FoPruRows().assign(tokens, 2, seen).anchor.tolist()
        [2, 3]
    """

    def assign_frame(self, tokens: Tokens, keep: int, signals: Signals) -> Assignment:
        assert signals.attention is not None
        attention: Tensor = signals.attention.float()
        rows, row = torch.unique(tokens.row, return_inverse=True)
        total = attention.new_zeros(len(rows)).index_add_(0, row, attention)
        best = strongest(total, len(rows))
        # Row by row, the best first; within a row the best patch first.
        place = torch.empty_like(best).scatter_(0, best, torch.arange(len(best), device=best.device))
        within = strongest(attention, len(attention))
        order = within[place[row[within]].argsort(stable=True)]
        return Assignment.keep(order[:keep], len(tokens))
