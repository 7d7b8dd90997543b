"""Merge the most alike patches of a frame until a count is left: ToMe behind the tower."""

import torch
from torch import Tensor, nn

from bvllm.stages.compressors.compressed import Compressed
from bvllm.stages.frame_grids import Grid
from bvllm.stages.merge_tokens import merge_in_rounds
from bvllm.types import Tokens


class MergeCompressor(nn.Module):
    """Bipartite matching by cosine, round after round, sizes carried; a round halves the tokens at most.

    Source: one of the compressors that Dynamic-VLM (arXiv 2412.09530) tried, from the note; ToMe (arXiv
        2210.09461). On the tower's output, not inside its blocks: inferred.

    Example:
        >>> [frame] = MergeCompressor()(torch.randn(1, 9, 4), [Grid(1, 2)], Grid(3, 3))
        >>> len(frame.features), float(frame.plan.count(torch.ones(9)).sum())
        (2, 9.0)
    """

    def forward(self, patches: Tensor, grids: list[Grid], native: Grid) -> list[Compressed]:
        """(F, N, C) -> F results; a grid counts as its number of cells."""
        found = []
        for frame, grid in zip(patches, grids):
            tokens = Tokens.of(frame[None], torch.zeros(1, device=frame.device), columns=native.columns)
            plan = merge_in_rounds(tokens, grid.cells)
            found.append(Compressed(plan.combine(frame, tokens.size), plan.reduction(tokens.size)))
        return found
