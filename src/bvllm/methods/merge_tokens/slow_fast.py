"""The fast tokens of the Slow-Fast architecture: pooled over time and space (arXiv 2504.01328)."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from bvllm.primitives.pooling import pooling_weights
from bvllm.primitives.reduction import Reduction
from bvllm.stages.by_frame import frame_slices, pooled, stacked
from bvllm.stages.merge_tokens import equal_shares
from bvllm.stages.method import Slot, TokenMethod
from bvllm.types import Signals, Tokens

STRIDE = 4  # frames that are averaged, for 64 and for 128 of them
LEAST = 16  # fast frames ("min_fast_frames")


@dataclass(frozen=True)
class SlowFast(TokenMethod):
    """Average every four frames into one, fewer where less than 16 were left, and pool these to a small grid.

    From ratio to count: the averaged frames share the budget equally, each pooled to the grid nearest to a
    square of exactly that many cells. There are never more of them than tokens, and as many as the budget
    needs to be filled. Frames that do not divide are pooled as the authors pool to 16: bins that overlap.

    The slow tokens, which trained cross-attention layers read at full size, are not here.

    Attributes:
        stride: frames that are averaged, where `least` are left.
        least: frames that are left at least, of a clip that has as many.
        released: where `least` are left anyway, the last frames that do not divide are left out.

    Source: Slow-Fast (arXiv 2504.01328), through its released code (`split_slow_fast_tokens`); the paper's
    text was not at hand.

    Example:
        >>> tokens = Tokens.of(torch.arange(4.0).repeat_interleave(4).view(4, 4, 1), torch.arange(4.0))
        >>> tokens.reduce(SlowFast(least=1).assign(tokens, 2, Signals())).features[:, 0].tolist()
        [1.5, 1.5]
    """

    slots: ClassVar[tuple[Slot, ...]] = ("merge_tokens", "sample_tokens")
    paper: ClassVar[str] = "https://arxiv.org/abs/2504.01328"
    across: ClassVar[bool] = True

    stride: int = STRIDE
    least: int = LEAST
    released: bool = False

    def assign(self, tokens: Tokens, keep: int, signals: Signals) -> Reduction:
        places, device = frame_slices(tokens), tokens.features.device
        frames, most = len(places), max(place.stop - place.start for place in places)
        count = max(frames // self.stride, min(self.least, frames), -(-keep // most))
        count = min(count, keep, frames)
        if self.released and count == frames // self.stride >= self.least:
            frames = count * self.stride
        parts = []
        for row, share in zip(pooling_weights(frames, count), equal_shares([keep] * count, keep)):
            group = [places[k] for k in row.nonzero()[:, 0].tolist()]
            weights = torch.cat([pooled(tokens, place, share) for place in group], dim=1) / len(group)
            parts.append((weights, torch.arange(group[0].start, group[-1].stop, device=device)))
        return stacked(parts, len(tokens))
