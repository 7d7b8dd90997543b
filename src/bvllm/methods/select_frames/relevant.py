"""Choose frames by how much they bear on the question, without taking one moment thirty times."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from bvllm.primitives.assignment import Assignment
from bvllm.stages.method import FrameMethod, Slot
from bvllm.types import Clip, SignalName, Signals

LEAST = 1e-6
SHARPNESS = 1.3


@dataclass(frozen=True)
class RelevantFrames(FrameMethod):
    """Keep frames that are relevant and differ: the greedy mode of a determinantal point process.

    Its kernel is q_i S_ij q_j. Quality q grows with a frame's relevance to the question; similarity S is high
    for frames that look alike and are near in time. So a second view of a moment adds little, and the same
    scene an hour later counts anew.

    Attributes:
        sharpness: how fast quality grows with relevance, whose spread over the video counts as 1. Far from
            the mean it levels off, or one moment would outweigh all others together.
        width: of the similarity of features; smaller tells more frames apart.
        reach: seconds within which frames are taken for neighbours, as a share of the video over the count
            kept.

    Source: ours, after greedy MAP inference of DPPs (arXiv 1709.05135; its text was not at hand).

    Example:
        >>> clip = Clip(torch.eye(4), torch.arange(4.0))
        >>> seen = Signals(relevance=torch.tensor([0.1, 0.9, 0.1, 0.8]))
        >>> RelevantFrames().assign(clip, 2, seen).anchor.tolist()
        [1, 3]
    """

    slots: ClassVar[tuple[Slot, ...]] = ("select_frames",)
    paper: ClassVar[str] = "ours"
    needs: ClassVar[frozenset[SignalName]] = frozenset({"relevance"})

    sharpness: float = SHARPNESS
    width: float = 0.3
    reach: float = 1.0

    def assign(self, clip: Clip, keep: int, signals: Signals) -> Assignment:
        assert signals.relevance is not None  # the pipeline checks what a method needs
        relevance, features = signals.relevance.double(), clip.features.double()
        quality = quality_of(relevance, self.sharpness)
        seen = functional.normalize(features - features.mean(dim=0), dim=-1)
        seconds = clip.seconds.double()
        length = float(seconds[-1] - seconds[0]) or 1.0
        reach = self.reach * length / keep

        def kernel(row: int) -> Tensor:
            alike = ((seen @ seen[row] - 1) / self.width).exp()
            near = (-(((seconds - seconds[row]) / reach) ** 2) / 2).exp()
            return quality[row] * quality * alike * near

        kept = greedy_mode(kernel, quality.square(), keep)
        return Assignment.keep(kept.sort().values, len(clip))


def quality_of(relevance: Tensor, sharpness: float = SHARPNESS) -> Tensor:
    """(T,) what relevance is worth beside the other frames of a video: 1 at their mean.

    Example:
        >>> quality_of(torch.tensor([0.1, 0.3, 0.2])).argsort().tolist()
        [0, 2, 1]
    """
    spread = relevance.std(correction=0).clamp_min(LEAST)
    above = 2 * ((relevance - relevance.mean()) / spread / 2).tanh()
    return (0.5 * sharpness * above).exp()


def greedy_mode(kernel: Callable[[int], Tensor], diagonal: Tensor, keep: int) -> Tensor:
    """Items that make the kernel's determinant large, one after another: (keep,), in the order taken.

    Each step keeps the Cholesky factor of what was taken, so that it costs T x keep, not T^3.

    Args:
        kernel: a row of the kernel, (T,).
        diagonal: (T,) of the kernel.
        keep: at most T.

    Example:
        >>> x = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]])
        >>> greedy_mode(lambda i: x @ x[i], (x * x).sum(dim=1), 2).tolist()
        [0, 2]
    """
    left = diagonal.clone()
    factor = diagonal.new_zeros(keep, len(diagonal))
    taken: list[int] = []
    for step in range(keep):
        best = int(left.argmax())
        taken.append(best)
        row = kernel(best) - factor[:step, best] @ factor[:step]
        factor[step] = row / left[best].clamp_min(LEAST).sqrt()
        left = (left - factor[step].square()).clamp_min(0)
        left[taken] = -1.0  # nothing is taken twice, even where nothing new is left
    return torch.tensor(taken, device=diagonal.device)
