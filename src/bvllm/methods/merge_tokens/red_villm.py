"""RED-VILLM's pools: the clip averaged over time, and over space (arXiv 2404.11865)."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from bvllm.primitives.pooling import pooling_weights
from bvllm.primitives.reduction import Reduction
from bvllm.stages.by_frame import frame_grid, frame_slices, pooled_to, stacked
from bvllm.stages.frame_grids import Grid, largest_grid
from bvllm.stages.method import Lands, Slot, TokenMethod
from bvllm.types import Signals, Tokens


@dataclass(frozen=True)
class REDVILLM(TokenMethod):
    """Keep one token for each place, its mean over all frames, and one for each frame, its mean over places.

    From count to count: where N places and T frames together are more than the budget, each of the two is
    pooled further, in proportion, one place at least: places to the largest grid near to the frames' own
    shape, and frames to what that leaves. Where they are fewer, fewer are left. The adapters that the authors
    train on top are not here. Every token stands at the earliest of what it is a mean of, so that in reading
    order the two kinds are mixed, and a mean over the clip stands in its first frame.

    Source: from the abstract of RED-VILLM (arXiv 2404.11865) and what is generally known of it; no code was
    found.

    Example:
        >>> tokens = Tokens.of(torch.arange(6.0).view(3, 2, 1), torch.arange(3.0))
        >>> tokens.reduce(REDVILLM().assign(tokens, 5, Signals())).features[:, 0].tolist()
        [2.0, 3.0, 0.5, 2.5, 4.5]
    """

    slots: ClassVar[tuple[Slot, ...]] = ("merge_tokens", "sample_tokens")
    paper: ClassVar[str] = "https://arxiv.org/abs/2404.11865"
    lands: ClassVar[Lands] = "below"
    across: ClassVar[bool] = True

    def assign(self, tokens: Tokens, keep: int, signals: Signals) -> Reduction:
        places = frame_slices(tokens)
        frames, most = len(places), max(place.stop - place.start for place in places)
        share = max(1, keep - keep * frames // (frames + most)) if frames + most > keep else most
        largest = max(places, key=lambda place: place.stop - place.start)
        grid = largest_grid(Grid(*frame_grid(tokens, largest)), min(most, share))
        moments = min(frames, keep - grid.cells)
        index = torch.arange(len(tokens), device=tokens.features.device)
        over_time = torch.cat([pooled_to(tokens, place, grid) for place in places], dim=1) / frames
        parts = [(over_time, index)]
        if moments:
            sizes = torch.tensor([place.stop - place.start for place in places], device=index.device)
            over_space = pooling_weights(frames, moments, index.device) / sizes
            parts.append((over_space.repeat_interleave(sizes, dim=1), index))
        return stacked(parts, len(tokens))
