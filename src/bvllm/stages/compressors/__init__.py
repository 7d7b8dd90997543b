"""Bring the patches of a frame to a count of tokens: pooling, merging or pruning (Dynamic-VLM), or queries.

One idea, one file. Each takes the patches of frames with their grids and gives, for each frame, exactly as
many tokens as its grid has cells, with the plan that says what every token is made of.
"""

from typing import Protocol

from torch import Tensor, nn

from bvllm.stages.compressors.compressed import Compressed
from bvllm.stages.compressors.merge import MergeCompressor
from bvllm.stages.compressors.pool import PoolCompressor
from bvllm.stages.compressors.prune import PruneCompressor
from bvllm.stages.compressors.queries import QueryCompressor
from bvllm.stages.frame_grids import Grid

__all__ = ["COMPRESSORS", "Compressed", "Compressor", "build_compressor"]


class Compressor(Protocol):
    """Compress frames, each on its own: what a frame gives does not depend on the others."""

    def __call__(self, patches: Tensor, grids: list[Grid], native: Grid) -> list[Compressed]:
        """(F, N, C) patches and a grid for each frame -> F results of `grid.cells` tokens."""
        ...


COMPRESSORS: dict[str, type[nn.Module]] = {
    "pool": PoolCompressor,
    "merge": MergeCompressor,
    "prune": PruneCompressor,
    "queries": QueryCompressor,
}


def build_compressor(name: str, channels: int, patches: int) -> nn.Module:
    """The compressor of a name, new weights where it has any.

    Args:
        channels: C of a patch.
        patches: N of a frame.

    Example:
        >>> sum(p.numel() for p in build_compressor("pool", 8, 64).parameters())
        0
    """
    if name == "queries":
        return QueryCompressor(channels, patches)
    return PruneCompressor(channels) if name == "prune" else COMPRESSORS[name]()
