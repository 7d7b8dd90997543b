"""Free Video-LLM's crop: the part of each frame that the question is about (arXiv 2410.10441)."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from bvllm.primitives.matching import cosine
from bvllm.primitives.pooling import grid_pooling_weights
from bvllm.primitives.reduction import Reduction
from bvllm.stages.by_frame import frame_grid, stacked
from bvllm.stages.each_frame import PictureMethod
from bvllm.stages.method import Lands, Slot
from bvllm.types import SignalName, Signals, Tokens

REGION = 0.8  # of the frame's area, and of its places


@dataclass(frozen=True)
class FreeVideoCrop(PictureMethod):
    """Crop each frame to a box around the places most like the question, and pool the box to its share.

    Places are compared with the question's mean vector in pairs of neighbours, by their maximum, as the
    authors pool them. The box covers 0.8 of the area and is centred on the mean place of the 0.8 most alike,
    inside the frame.

    From count to count: the authors keep every pair in the box, 231 of 288 a frame. Here the box is pooled to
    a frame's equal share of the budget by means, since weights cannot say a maximum; a box with fewer places
    than that is kept as it is.

    Attributes:
        region: share of the frame's area, and of its places.
        released: as the authors' code: the pairs of a row, (rows, columns / 2), are read as
            (rows / 2, columns), so that the box is no rectangle of the picture.

    Source: Free Video-LLM (arXiv 2410.10441), through its released code (`roi_crop`, `roi_box`); the paper's
    text was not at hand.

    Example:
        >>> frame = torch.zeros(1, 16, 2)
        >>> frame[0, :8, 0] = frame[0, 8:, 1] = 1
        >>> ask = Signals(question=torch.tensor([[0.0, 1.0]]))
        >>> plan = FreeVideoCrop(region=0.5).assign(Tokens.of(frame, torch.zeros(1)), 6, ask)
        >>> plan.input.tolist()
        [4, 5, 8, 9, 12, 13]
    """

    slots: ClassVar[tuple[Slot, ...]] = ("merge_tokens", "sample_tokens")
    paper: ClassVar[str] = "https://arxiv.org/abs/2410.10441"
    needs: ClassVar[frozenset[SignalName]] = frozenset({"question"})
    lands: ClassVar[Lands] = "below"

    region: float = REGION
    released: bool = False

    def assign_frame(self, tokens: Tokens, keep: int, signals: Signals) -> Reduction:
        assert signals.question is not None  # the pipeline checks what a method needs
        rows, columns = frame_grid(tokens, slice(0, len(tokens)))
        pairs = 2 if columns % 2 == 0 and (not self.released or rows % 2 == 0) else 1
        x = tokens.features.detach()
        view = (rows // 2, columns) if self.released and pairs == 2 else (rows, columns // pairs)
        strongest = x.view(-1, pairs, x.shape[1]).amax(dim=1)
        alike = cosine(strongest, signals.question.float().mean(dim=0, keepdim=True))[:, 0]
        cells = torch.arange(len(x), device=x.device).view(*view, pairs)
        top, bottom, left, right = _box(alike, *view, self.region)
        box = cells[top:bottom, left:right].flatten(1)  # pairs side by side: each row is one of patches
        if box.numel() <= keep:
            weights = torch.eye(box.numel(), device=x.device)
        elif box.numel() == pairs * keep:  # the authors' own count: one for each pair
            weights = torch.eye(keep, device=x.device).repeat_interleave(pairs, dim=1) / pairs
        else:
            weights = grid_pooling_weights(box.numel(), keep, x.device, columns=box.shape[1])
        return stacked([(weights, box.flatten())], len(tokens))


def _box(alike: Tensor, rows: int, columns: int, region: float) -> tuple[int, int, int, int]:
    """Top, bottom, left and right of the box around the places most alike, inside the grid.

    Example:
        >>> _box(torch.eye(4).flatten(), 4, 4, 0.25)
        (0, 2, 0, 2)
    """
    best = alike.argsort(descending=True, stable=True)[: max(1, int(rows * columns * region))]
    edges: list[int] = []
    for size, place in ((rows, best // columns), (columns, best % columns)):
        length = max(1, round(size * math.sqrt(region)))
        start = int(place.float().mean()) - length // 2
        start = min(max(start, 0), size - length)
        edges += [start, start + length]
    return edges[0], edges[1], edges[2], edges[3]
