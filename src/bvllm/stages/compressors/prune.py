"""Keep the patches of a frame that a small network scores highest."""

import torch
from torch import Tensor, nn

from bvllm.primitives.assignment import Assignment
from bvllm.stages.compressors.compressed import Compressed
from bvllm.stages.frame_grids import Grid

TAU = 1.0


class PruneCompressor(nn.Module):
    """Score every patch, keep the top k of the frame, in reading order.

    In training Gumbel noise is added to the scores before the choice, and survivors are multiplied by a
    weight that is 1 forward and has the gradient of a sigmoid backward (straight-through): of how far the
    noisy score is above the best one that was left out. So the language model reads in training what it reads
    at inference, at any count, and the scorer still learns which patches a loss wants larger. Where all
    patches stay nothing was chosen, and nothing is learned of it. Without noise at inference: the same frame
    always gives the same tokens.

    Source: one of the compressors that Dynamic-VLM (arXiv 2412.09530) tried: "an MLP scores tokens, Gumbel
        softmax makes the choice differentiable, top-K stay", from the note. How it was trained is not told;
        this is the note's reading (b) with a weight of 1: the softmax's own, 1 / N and less, would be a scale
        that inference does not have.

    Args:
        channels: C.

    Example:
        >>> [frame] = PruneCompressor(4).eval()(torch.randn(1, 9, 4), [Grid(1, 2)], Grid(3, 3))
        >>> len(frame.features), frame.plan.weight.tolist()
        (2, [1.0, 1.0])
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scorer = nn.Sequential(
            nn.LayerNorm(channels), nn.Linear(channels, channels), nn.GELU(), nn.Linear(channels, 1)
        )

    def forward(
        self, patches: Tensor, grids: list[Grid], native: Grid, scored: Tensor | None = None
    ) -> list[Compressed]:
        """(F, N, C) -> F results; a grid counts as its number of cells.

        Args:
            scored: (F, N, C) patches whose scores choose in the place of each frame's own, to find out what
                scores are worth.
        """
        read = patches if scored is None else scored
        scores = self.scorer(read.to(next(self.scorer.parameters()).dtype))[..., 0]
        return [self._keep(frame, score, grid.cells) for frame, score, grid in zip(patches, scores, grids)]

    def _keep(self, frame: Tensor, score: Tensor, count: int) -> Compressed:
        """(N, C) patches and (N,) scores of one frame -> the `count` highest."""
        if self.training:
            score = score - torch.empty_like(score).exponential_().log()  # Gumbel noise
        ranked = score.topk(min(count + 1, len(score)))
        kept = ranked.indices[:count].sort().values
        plan = Assignment.keep(kept, len(frame)).reduction()
        if not self.training or count == len(frame):
            return Compressed(frame[kept], plan)
        soft = ((score[kept] - ranked.values[count]) / TAU).sigmoid()
        weight = 1 + (soft - soft.detach())
        return Compressed(frame[kept] * weight[:, None].to(frame.dtype), plan)
