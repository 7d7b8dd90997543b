"""Teach the vision tower what patches and frames of busy scenes show: shape, colour, words, where.

A part of the role that CLIP's pre-training plays in the paper: its towers read and tell things apart. The
heads are left behind when the tower is warm.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bvllm.nano.busy_pool import COLOUR_NAMES, SHAPE_NAMES, BusyPool, PatchLabels
from bvllm.synthetic.busy.things import LABELS
from bvllm.synthetic.vocabulary import SHAPES

OFFSET_WEIGHT, FRAME_WEIGHT = 0.5, 4.0
RARE = 4.0  # how much more it weighs to miss what a frame holds than to name what it does not


class BusyTargets(NamedTuple):
    """What a pool's frames show: of every patch, and anywhere in the frame."""

    patches: PatchLabels
    labels: Tensor
    names: Tensor

    @classmethod
    def of(cls, pool: BusyPool, grid: int) -> "BusyTargets":
        return cls(pool.patch_labels(grid), *pool.frame_labels())


class BusyHeads(nn.Module):
    """Linear readers of a tower's patches and of its frame feature.

    Args:
        width: C.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.shape = nn.Linear(width, len(SHAPE_NAMES) + 1)
        self.colour = nn.Linear(width, len(COLOUR_NAMES) + 1)
        self.label = nn.Linear(width, len(LABELS) + 1)
        self.small = nn.Linear(width, 3)
        self.offset = nn.Linear(width, 2)
        self.frame_labels = nn.Linear(width, len(LABELS))
        self.frame_names = nn.Linear(width, len(SHAPES) * len(COLOUR_NAMES))

    def forward(
        self, patches: Tensor, frames: Tensor, rows: Tensor, targets: BusyTargets
    ) -> tuple[Tensor, dict[str, float]]:
        """The loss of a batch, and the shares that were right.

        Args:
            patches: (B, N, C).
            frames: (B, C).
            rows: (B,) of the pool.
            targets: of the pool.
        """
        seen, wanted = self.norm(patches), targets.patches
        there = wanted.shape[rows] > 0
        signs = wanted.label[rows] > 0
        loss, right = torch.zeros(()), {}
        for name in ("shape", "colour", "small"):
            logits, target = getattr(self, name)(seen), getattr(wanted, name)[rows].long()
            loss = loss + F.cross_entropy(logits.flatten(0, 1), target.flatten())
            right[name] = (logits.argmax(-1) == target)[there].float().mean().item()
        logits, target = self.label(seen), wanted.label[rows].long()
        loss = loss + F.cross_entropy(logits.flatten(0, 1), target.flatten())
        loss = loss + 0.5 * F.cross_entropy(logits[signs], target[signs])
        right["word"] = (logits.argmax(-1) == target)[signs].float().mean().item()
        off = self.offset(seen)[there] - wanted.offset[rows].float()[there]
        loss = loss + OFFSET_WEIGHT * F.smooth_l1_loss(off, torch.zeros_like(off))
        for head, whole in ((self.frame_labels, targets.labels), (self.frame_names, targets.names)):
            weight = torch.full((whole.shape[1],), RARE)
            loss = loss + FRAME_WEIGHT * F.binary_cross_entropy_with_logits(
                head(frames), whole[rows], pos_weight=weight
            )
        signed = targets.labels[rows].any(dim=1)
        best = self.frame_labels(frames).argmax(-1)
        right["sign"] = targets.labels[rows].gather(1, best[:, None])[:, 0][signed].mean().item()
        return loss, right
