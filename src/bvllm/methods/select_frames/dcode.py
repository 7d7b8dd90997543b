"""D-CoDe's frames: most of them evenly spaced, the rest unlike them (arXiv 2510.08818)."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from bvllm.primitives.assignment import Assignment
from bvllm.primitives.matching import unit
from bvllm.stages.method import FrameMethod, Slot
from bvllm.types import Clip, Signals


@dataclass(frozen=True)
class DCoDeFrames(FrameMethod):
    """Keep evenly spaced frames, first and last included, and add those least like the ones kept.

    One after another, the frame of the lowest mean cosine to all that are kept already is added.

    Attributes:
        even: share of evenly spaced frames, rounded down, one at least: 0.85 for EgoSchema (15
            frames of 50) and NExT-QA (18 of 36), 0.75 for IntentQA (20 of 50), 0.8 for open questions (25 of
            50).

    Source: D-CoDe (arXiv 2510.08818), through its released code (`supp_frame_selection`).

    Example:
        >>> clip = Clip(torch.eye(2)[[0, 0, 1, 0, 0]], torch.arange(5.0))
        >>> DCoDeFrames().assign(clip, 3, Signals()).anchor.tolist()
        [0, 2, 4]
    """

    slots: ClassVar[tuple[Slot, ...]] = ("select_frames",)
    paper: ClassVar[str] = "https://arxiv.org/abs/2510.08818"

    even: float = 0.85

    def assign(self, clip: Clip, keep: int, signals: Signals) -> Assignment:
        x = unit(clip.features.detach())
        count = max(1, int(keep * self.even))
        chosen = _evenly(len(clip), count)
        likeness = x @ x[chosen].sum(dim=0)  # the sum ranks as the mean does
        for _ in range(keep - count):
            likeness[chosen] = torch.inf
            chosen.append(int(likeness.argmin()))
            likeness += x @ x[chosen[-1]]
        return Assignment.keep(torch.tensor(chosen, device=x.device), len(clip))


def _evenly(frames: int, count: int) -> list[int]:
    """Evenly spaced frames, rounded down from the same floating numbers as `numpy.linspace` in the code.

    Example:
        >>> _evenly(50, 12)
        [0, 4, 8, 13, 17, 22, 26, 31, 35, 40, 44, 49]
    """
    step = (frames - 1) / max(1, count - 1)
    return [int(k * step) for k in range(count - 1)] + [frames - 1 if count > 1 else 0]
