"""MustDrop, the part in the vision encoder: uniform windows become one token (arXiv 2411.10803)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from bvllm.primitives.assignment import Assignment
from bvllm.primitives.choice import strongest
from bvllm.primitives.matching import unit
from bvllm.stages.each_frame import PictureMethod
from bvllm.stages.method import Lands, Slot
from bvllm.types import Signals, Tokens

WINDOW = 3  # patches each way


@dataclass(frozen=True)
class MustDrop(PictureMethod):
    """Merge the most uniform 3 x 3 windows of each frame, as many as the budget asks for.

    A window is uniform where its patches are alike: the mean cosine of its pairs. A merged window is the mean
    of its patches, by size. The authors merge behind the first layer of the tower, by a threshold, and in
    every picture of a call as many windows as the least uniform one has; here what leaves the tower is
    merged, each frame by itself, the most uniform windows first, until it fits. Where even all windows leave
    too many, 2 x 2 of these become one, and so on; that is ours. Of a frame up to eight tokens fewer than
    asked for are left. The authors' steps inside the language model are not here.

    Attributes:
        threshold: windows that are more uniform than this merge although the budget does not ask for it; None
            merges no more than it must. Their code has 0.8.

    Source: MustDrop (arXiv 2411.10803), through its released code; the paper's text was not at hand.

    Example:
        >>> x = torch.eye(36)
        >>> x[[18, 19, 20, 24, 25, 26, 30, 31, 32]] = x[18].clone()  # nine alike, below on the left
        >>> plan = MustDrop().assign(Tokens.of(x[None], torch.zeros(1)), 28, Signals())
        >>> len(plan), plan.target[[18, 26, 32]].tolist()
        (28, [18, 18, 18])
    """

    slots: ClassVar[tuple[Slot, ...]] = ("merge_tokens", "sample_tokens")
    paper: ClassVar[str] = "https://arxiv.org/abs/2411.10803"
    lands: ClassVar[Lands] = "below"
    conserves: ClassVar[bool] = True

    threshold: float | None = None

    def assign_frame(self, tokens: Tokens, keep: int, signals: Signals) -> Assignment:
        side = WINDOW
        plan = self._round(tokens, keep, side)
        while len(plan) > keep:  # every window is one token now
            side *= 2
            plan = plan.then(self._round(tokens.reduce(plan), keep, side))
        return plan

    def _round(self, tokens: Tokens, keep: int, side: int) -> Assignment:
        """Merge windows of so many patches each way, the most uniform first, until few enough are left."""
        window = windows_of(tokens, side)
        alike = uniformity(tokens.features.detach(), window)
        order = strongest(alike, len(alike))
        spared = (torch.bincount(window)[order] - 1).cumsum(0)
        # Windows before the one with which enough is spared, and that one.
        count = int((spared < len(tokens) - keep).sum()) + 1 if len(tokens) > keep else 0
        if self.threshold is not None and side == WINDOW:
            count = max(count, int((alike >= self.threshold).sum()))
        alone = torch.arange(len(window), device=window.device)
        return Assignment.merge(torch.where(torch.isin(window, order[:count]), firsts(window)[window], alone))


def windows_of(tokens: Tokens, side: int) -> Tensor:
    """(K,) the number of the window of so many patches each way in which each token of a frame lies."""
    columns = int(tokens.column.max()) // side + 1
    place = tokens.row // side * columns + tokens.column // side
    found: tuple[Tensor, Tensor] = torch.unique(place, return_inverse=True)
    return found[1]


def uniformity(x: Tensor, window: Tensor) -> Tensor:
    """(windows,) the mean cosine of the pairs in each window; below all where a token is alone.

    Example:
        >>> uniformity(torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 0, 1])).tolist()
        [1.0, -2.0]
    """
    rows = unit(x)
    members = torch.bincount(window)
    total = rows.new_zeros(len(members), rows.shape[1]).index_add_(0, window, rows).square().sum(dim=1)
    own = rows.new_zeros(len(members)).index_add_(0, window, rows.square().sum(dim=1))
    pairs = members * (members - 1)
    return torch.where(pairs > 0, (total - own) / pairs.clamp_min(1), -2.0)


def firsts(window: Tensor) -> Tensor:
    """(windows,) the first token of each.

    Example:
        >>> firsts(torch.tensor([0, 1, 0, 1])).tolist()
        [0, 1]
    """
    place = torch.arange(len(window), device=window.device)
    return place.new_full((int(window.max()) + 1,), len(window)).scatter_reduce(0, window, place, "amin")
