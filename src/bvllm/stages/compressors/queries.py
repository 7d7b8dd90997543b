"""Mix the patches of a frame by learned queries, of which any first few will do: an elastic query model."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bvllm.primitives.reduction import Reduction
from bvllm.stages.compressors.compressed import Compressed
from bvllm.stages.frame_grids import Grid

SHARPNESS = 20.0  # of the attention to start with: at 1 all queries would read the same mean


class QueryCompressor(nn.Module):
    """A query for every patch; a frame that may have m tokens is read by the first m.

    A token is a mean of the frame's patches, weighted by how a query's direction fits a patch's content and
    place. Queries do not see one another, so the first m give the same whether more follow or not; trained
    with m drawn anew in every step, the first learn what is worth most.

    Source: after MQT-LLaVA (Matryoshka Query Transformer), from the note, which read its released code: one
        cross-attention layer, the first m of a bank of queries. There the mixing weights follow from places
        alone and have several heads; here from content as well, with one head, so that the plan is exact.

    Args:
        channels: C.
        patches: N, of a frame.

    Example:
        >>> compress = QueryCompressor(4, 9)
        >>> few, all_ = compress(torch.randn(1, 9, 4).expand(2, -1, -1), [Grid(1, 2), Grid(3, 3)], Grid(3, 3))
        >>> len(few.features), bool((few.features - all_.features[:2]).abs().max() < 1e-5)
        (2, True)
    """

    def __init__(self, channels: int, patches: int) -> None:
        super().__init__()
        self.queries = nn.Embedding(patches, channels)
        self.positions = nn.Embedding(patches, channels)
        self.norm = nn.LayerNorm(channels)
        self.key = nn.Linear(channels, channels)
        self.sharpness = nn.Parameter(torch.tensor([math.log(SHARPNESS)]))  # FSDP refuses a scalar

    def forward(self, patches: Tensor, grids: list[Grid], native: Grid) -> list[Compressed]:
        """(F, N, C) -> F results; a grid counts as its number of cells."""
        most = max(grid.cells for grid in grids)
        # Sizes of content and place follow from how weights start, which differs from model to model.
        content = F.normalize(self.key(self.norm(patches.to(self.key.weight.dtype))), dim=-1)
        keys = F.normalize(content + F.normalize(self.positions.weight, dim=-1), dim=-1)
        queries = F.normalize(self.queries.weight[:most], dim=-1)
        weights = (self.sharpness.exp() * queries @ keys.mT).softmax(dim=-1)
        mixed = weights @ patches.to(weights.dtype)
        return [
            Compressed(tokens[: grid.cells].to(patches.dtype), Reduction.dense(own[: grid.cells].detach()))
            for tokens, own, grid in zip(mixed, weights, grids, strict=True)
        ]
