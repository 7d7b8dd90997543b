"""Fourier-VLM: keep the low frequencies of each frame (arXiv 2508.06038)."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from bvllm.primitives.reduction import Reduction
from bvllm.stages.by_frame import frame_grid
from bvllm.stages.each_frame import PictureMethod
from bvllm.stages.frame_grids import Grid, largest_grid
from bvllm.stages.method import Lands, Slot
from bvllm.types import Signals, Tokens


@dataclass(frozen=True)
class FourierVLM(PictureMethod):
    """Cut each frame's grid down to a smaller one by its discrete cosine transform: low frequencies only.

    The orthonormal transform (type II) of a grid of H x W, its lowest h x w coefficients, and their inverse
    transform, scaled by sqrt(h w / (H W)), so that an even picture keeps its value. It is linear, hence a
    matrix of weights, some below 0.

    From ratio to count: the paper's grids are square (12, 8 or 6 a side); here h x w is the largest grid
    within a frame's equal share that is near to the frame's own shape. A share without such a grid, such as
    13, is not met: 13 x 1 waves would be frequencies of one direction alone.

    Source: from the abstract of Fourier-VLM (arXiv 2508.06038), which the authors train with; no code was
    found.

    Example:
        >>> tokens = Tokens.of(torch.ones(1, 16, 2), torch.zeros(1))
        >>> cut = tokens.reduce(FourierVLM().assign(tokens, 4, Signals()))
        >>> cut.features.round(decimals=4).unique().tolist()
        [1.0]
    """

    slots: ClassVar[tuple[Slot, ...]] = ("merge_tokens", "sample_tokens")
    paper: ClassVar[str] = "https://arxiv.org/abs/2508.06038"
    lands: ClassVar[Lands] = "below"

    def assign_frame(self, tokens: Tokens, keep: int, signals: Signals) -> Reduction:
        rows, columns = frame_grid(tokens, slice(0, len(tokens)))
        down, across = largest_grid(Grid(rows, columns), keep)
        device = tokens.features.device
        return Reduction.dense(torch.kron(low_pass(rows, down, device), low_pass(columns, across, device)))


def low_pass(size: int, keep: int, device: torch.device | None = None) -> Tensor:
    """A line of `size` values to `keep` by its lowest frequencies: (keep, size), rows that sum to 1.

    Frequencies that the longer of the two does not have are 0, so a line may also be stretched.

    Example:
        >>> low_pass(4, 1).tolist()
        [[0.25, 0.25, 0.25, 0.25]]
    """
    common = min(size, keep)
    forth = _cosines(size)[:common]
    back = _cosines(keep)[:common].mT
    return (back @ forth * math.sqrt(keep / size)).float().to(device)


def _cosines(size: int) -> Tensor:
    """The orthonormal DCT-II: (frequencies, places), float64."""
    place = torch.arange(size, dtype=torch.float64)
    waves = torch.cos(math.pi / size * (place + 0.5) * place[:, None]) * math.sqrt(2 / size)
    waves[0] /= math.sqrt(2)
    return waves
