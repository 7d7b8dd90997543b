"""VidCom2: more tokens for frames that stand out, and those that stand out in them (arXiv 2505.14454)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from bvllm.primitives.assignment import Assignment
from bvllm.primitives.novelty import common_kernel, steady_channels, unit_mean
from bvllm.stages.by_frame import frame_slices, largest_remainders
from bvllm.stages.method import Slot, TokenMethod
from bvllm.types import Signals, Tokens

TEMPERATURE = 0.01  # of the softmax over frames in the authors' code


@dataclass(frozen=True)
class VidCom2(TokenMethod):
    """Share tokens out by how far each frame is from the video, and keep those that resemble neither mean.

    Over the steadier half of the channels, each token is compared by a sum of five Gaussian kernels with the
    mean of the video and with that of its frame. A frame's uniqueness is minus its mean likeness to the
    video; a sharp softmax over frames turns it into shares, ratio (1 + p - mean p), at most all of a frame.
    In each frame, the tokens least like both means stay.

    From ratio to count: the ratio is the budget over all tokens, and what rounding leaves goes to the largest
    remainders, so that the sum is exact; the authors round each frame by itself. Every frame keeps one token
    at least, as there, where the budget has as many.

    Attributes:
        ratio: share of tokens that frames keep, on which their differences are laid; None takes the budget's.
            With the code's own ratio, and a budget of as many tokens as it leaves, the tokens are the code's.
        released: each frame is rounded by itself, as in the authors' code, and the count is met as vLLM meets
            it: tokens most like both means go, or those least like them come, whatever frame they are of, so
            that a frame may keep none.

    Source: VidCom2 (arXiv 2505.14454), through its released code (`vidcom2_compression`) and vLLM's; the
    paper's text was not at hand.

    Example:
        >>> frames = torch.ones(3, 4, 4)
        >>> frames[1] = -1  # one that stands out
        >>> plan = VidCom2().assign(Tokens.of(frames, torch.arange(3.0)), 6, Signals())
        >>> torch.bincount(plan.anchor // 4).tolist()
        [2, 3, 1]
    """

    slots: ClassVar[tuple[Slot, ...]] = ("merge_tokens", "sample_tokens")
    paper: ClassVar[str] = "https://arxiv.org/abs/2505.14454"
    across: ClassVar[bool] = True

    ratio: float | None = None
    released: bool = False

    def assign(self, tokens: Tokens, keep: int, signals: Signals) -> Assignment:
        places, x = frame_slices(tokens), tokens.features.detach()
        channels = steady_channels(x)
        means = [unit_mean(x[place], channels) for place in places]
        size = [place.stop - place.start for place in places]
        weight = torch.tensor(size, device=x.device)[:, None] / len(tokens)
        video = (torch.stack(means) * weight).sum(dim=0)
        to_video = [common_kernel(x[place], channels, video) for place in places]
        ratio = keep / len(tokens) if self.ratio is None else self.ratio
        scales = _scales(torch.stack([-score.mean() for score in to_video]), ratio).tolist()
        wanted = [s * n for s, n in zip(scales, size)]
        likeness = [
            s + common_kernel(x[place], channels, mean) for place, mean, s in zip(places, means, to_video)
        ]
        if self.released:
            return Assignment.keep(_rounded(likeness, wanted, keep), len(tokens))
        counts = largest_remainders(wanted, size, keep, int(keep >= len(places)))
        return Assignment.keep(_least_alike(likeness, counts).nonzero()[:, 0], len(tokens))


def _least_alike(likeness: list[Tensor], counts: list[int]) -> Tensor:
    """(K,) True for so many tokens of each frame."""
    kept = [torch.zeros(len(frame), dtype=torch.bool, device=frame.device) for frame in likeness]
    for mask, frame, count in zip(kept, likeness, counts):
        mask[frame.argsort(stable=True)[:count]] = True
    return torch.cat(kept)


def _rounded(likeness: list[Tensor], wanted: list[float], keep: int) -> Tensor:
    """(keep,) tokens: of each frame as many as rounding gives, and of all frames the best to land on `keep`.

    Example:
        >>> _rounded([torch.tensor([0.1, 0.2]), torch.tensor([0.4, 0.3])], [1.0, 0.2], 1).tolist()
        [0]
    """
    counts = [min(len(frame), max(1, round(share))) for frame, share in zip(likeness, wanted)]
    kept, score = _least_alike(likeness, counts), torch.cat(likeness)
    there, free = kept.nonzero()[:, 0], (~kept).nonzero()[:, 0]
    over = len(there) - keep
    kept[there[score[there].argsort(descending=True, stable=True)[: max(0, over)]]] = False
    kept[free[score[free].argsort(stable=True)[: max(0, -over)]]] = True
    return kept.nonzero()[:, 0]


def _scales(uniqueness: Tensor, ratio: float) -> Tensor:
    """(T,) what share of its tokens each frame keeps."""
    p = ((uniqueness - uniqueness.max()) / TEMPERATURE).softmax(dim=0)
    return (ratio * (1 + p - p.mean())).clamp(max=1.0)
