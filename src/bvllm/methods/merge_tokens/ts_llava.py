"""TS-LLaVA: evenly sampled tokens and a thumbnail of the clip (arXiv 2411.11066)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from bvllm.primitives.reduction import Reduction
from bvllm.stages.by_frame import frame_slices, pooled, stacked
from bvllm.stages.merge_tokens import equal_shares
from bvllm.stages.method import Slot, TokenMethod
from bvllm.types import Signals, Tokens

TILES = 6  # "V2": three rows of two frames
THUMBNAIL = 6  # 576 of 3456 tokens are the thumbnail's: one in six


@dataclass(frozen=True)
class TSLLaVA(TokenMethod):
    """Keep evenly spaced tokens of the whole clip, and beside them a small picture of six of its frames.

    The authors tile six evenly spaced frames to one picture and encode that; a stage sees no pixels, so here
    the tokens of these frames are pooled to as many as their tile of the picture would have had.

    From count to count: they keep 2 880 tokens and a thumbnail of 576; here one token in six is the
    thumbnail's, at most as many as a frame has. Theirs puts the thumbnail last; here its tokens stand with
    the frames that they show.

    Source: TS-LLaVA (arXiv 2411.11066), through its released code (`uniformly_sample_frames`,
    `sample_tokens`); the paper's text was not at hand.

    Example:
        >>> tokens = Tokens.of(torch.randn(6, 4, 2), torch.arange(6.0))
        >>> plan = TSLLaVA().assign(tokens, 12, Signals())
        >>> len(plan), int((plan.weight < 1).sum())
        (12, 8)
    """

    slots: ClassVar[tuple[Slot, ...]] = ("merge_tokens", "sample_tokens")
    paper: ClassVar[str] = "https://arxiv.org/abs/2411.11066"
    across: ClassVar[bool] = True

    def assign(self, tokens: Tokens, keep: int, signals: Signals) -> Reduction:
        places, device = frame_slices(tokens), tokens.features.device
        tiles = min(TILES, len(places))
        shown = [places[k] for k in _evenly(len(places), tiles).tolist()]
        sizes = [place.stop - place.start for place in shown]
        shares = equal_shares(sizes, min(keep // THUMBNAIL, max(sizes)))
        sampled = keep - sum(shares)
        number, index = torch.arange(sampled, device=device), _evenly(len(tokens), sampled).to(device)
        parts = [Reduction.of(number, index, torch.ones(sampled, device=device), sampled, len(tokens))]
        for place, share in zip(shown, shares):
            if share:
                here = torch.arange(place.start, place.stop, device=device)
                parts.append(stacked([(pooled(tokens, place, share), here)], len(tokens)))
        return Reduction.beside(parts)


def _evenly(count: int, keep: int) -> Tensor:
    """Evenly spaced places of `count`, with first and last, rounded in single precision as the code does.

    Example:
        >>> _evenly(50, 6).tolist()
        [0, 10, 20, 29, 39, 49]
    """
    return torch.linspace(0, count - 1, keep, dtype=torch.float32).round().long().clamp(max=count - 1)
