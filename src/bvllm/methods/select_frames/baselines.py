"""Keep evenly spaced or random frames: what every selector must beat."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from bvllm.primitives.assignment import Assignment
from bvllm.stages.method import FrameMethod, Slot
from bvllm.stages.pipeline import thin_evenly
from bvllm.types import Clip, Signals


@dataclass(frozen=True)
class UniformFrames(FrameMethod):
    """Keep the middle frames of `keep` equal parts of the clip.

    Source: the usual baseline of long-video models.

    Example:
        >>> clip = Clip(torch.zeros(9, 1), torch.arange(9.0))
        >>> UniformFrames().assign(clip, 3, Signals()).anchor.tolist()
        [1, 4, 7]
    """

    slots: ClassVar[tuple[Slot, ...]] = ("select_frames",)
    paper: ClassVar[str] = "ours"
    blind: ClassVar[bool] = True

    def assign(self, clip: Clip, keep: int, signals: Signals) -> Assignment:
        return thin_evenly(len(clip), keep, clip.seconds.device)


@dataclass(frozen=True)
class RandomFrames(FrameMethod):
    """Keep frames drawn at random, the same ones for the same seed.

    Example:
        >>> clip = Clip(torch.zeros(9, 1), torch.arange(9.0))
        >>> first, again = (RandomFrames().assign(clip, 3, Signals(seed=7)).anchor for _ in range(2))
        >>> first.tolist() == again.tolist(), len(first)
        (True, 3)
    """

    slots: ClassVar[tuple[Slot, ...]] = ("select_frames",)
    paper: ClassVar[str] = "ours"
    blind: ClassVar[bool] = True

    def assign(self, clip: Clip, keep: int, signals: Signals) -> Assignment:
        drawn = torch.randperm(len(clip), generator=torch.Generator().manual_seed(signals.seed))[:keep]
        return Assignment.keep(drawn.to(clip.seconds.device), len(clip))
