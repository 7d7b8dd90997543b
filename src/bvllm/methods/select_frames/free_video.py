"""Free Video-LLM's frames: those the question is about, and evenly spaced ones (arXiv 2410.10441)."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from bvllm.primitives.assignment import Assignment
from bvllm.stages.method import FrameMethod, Slot
from bvllm.types import Clip, SignalName, Signals

SLOW, MIDDLE = 3, 5  # frames by the question, and evenly spaced ones: "slow_3frms", "middle_5frms"


@dataclass(frozen=True)
class FreeVideoFrames(FrameMethod):
    """Keep the frames most relevant to the question and evenly spaced ones, three to five.

    From count to count: the authors show 3 and 5 frames, and all 50 again on a grid of 4 x 4 ("fast"), which
    the method `slow_fast` with a stride of 1 does. Of equally relevant frames the last comes first. A frame
    that is in both lists is shown twice there; here the next most relevant takes its place, so that the count
    is exact.

    Source: Free Video-LLM (arXiv 2410.10441), through its released code (`prepare_visual_aggregation`).

    Example:
        >>> clip = Clip(torch.zeros(16, 1), torch.arange(16.0))
        >>> asked = Signals(relevance=torch.arange(16.0))
        >>> FreeVideoFrames().assign(clip, 8, asked).anchor.tolist()
        [0, 3, 6, 9, 12, 13, 14, 15]
    """

    slots: ClassVar[tuple[Slot, ...]] = ("select_frames",)
    paper: ClassVar[str] = "https://arxiv.org/abs/2410.10441"
    needs: ClassVar[frozenset[SignalName]] = frozenset({"relevance"})

    def assign(self, clip: Clip, keep: int, signals: Signals) -> Assignment:
        assert signals.relevance is not None  # the pipeline checks what a method needs
        even = keep * MIDDLE // (SLOW + MIDDLE)
        chosen = torch.linspace(0, len(clip), even + 1).int()[:-1].tolist()
        by_relevance = signals.relevance.argsort(stable=True).flip(0).tolist()
        chosen += [k for k in by_relevance if k not in set(chosen)][: keep - even]
        return Assignment.keep(torch.tensor(chosen, device=clip.seconds.device), len(clip))
