"""Adaptive average pooling of a frame to a grid: the compressor that Dynamic-VLM adopts."""

from functools import lru_cache

import torch
from torch import Tensor, nn

from bvllm.primitives.pooling import pooling_weights
from bvllm.primitives.reduction import Reduction
from bvllm.stages.compressors.compressed import Compressed
from bvllm.stages.frame_grids import Grid


class PoolCompressor(nn.Module):
    """Average the patches of each cell; no weights, no content is looked at.

    Source: Dynamic-VLM (arXiv 2412.09530), from the note: pooling before the projector, no position code
        after it.

    Example:
        >>> [frame] = PoolCompressor()(torch.arange(4.0).view(1, 4, 1), [Grid(1, 2)], Grid(2, 2))
        >>> frame.features.flatten().tolist()
        [1.0, 2.0]
    """

    def forward(self, patches: Tensor, grids: list[Grid], native: Grid) -> list[Compressed]:
        """(F, N, C) -> F results, one matrix product for frames of one grid."""
        found: dict[int, Compressed] = {}
        for grid in dict.fromkeys(grids):
            frames = [k for k, other in enumerate(grids) if other == grid]
            plan = cell_plan(grid, native)
            same = patches if len(frames) == len(grids) else patches[frames]
            weights = cell_weights(grid, native).to(patches.device, patches.dtype)
            pooled = same if grid == native else weights @ same
            found.update({k: Compressed(row, plan) for k, row in zip(frames, pooled)})
        return [found[k] for k in range(len(grids))]


@lru_cache(maxsize=1024)
def cell_weights(grid: Grid, native: Grid) -> Tensor:
    """(cells, N) the share of each patch in each cell, on the CPU; ordinary tensors wherever first asked for.

    Example:
        >>> cell_weights(Grid(1, 1), Grid(2, 2)).tolist()
        [[0.25, 0.25, 0.25, 0.25]]
    """
    with torch.inference_mode(False):  # what is kept serves training, too
        rows, columns = (
            pooling_weights(native.rows, grid.rows),
            pooling_weights(native.columns, grid.columns),
        )
        return torch.kron(rows, columns)


@lru_cache(maxsize=1024)
def cell_plan(grid: Grid, native: Grid) -> Reduction:
    """The same as a plan."""
    with torch.inference_mode(False):
        return Reduction.dense(cell_weights(grid, native))
