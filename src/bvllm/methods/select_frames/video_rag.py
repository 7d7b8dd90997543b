"""Video-RAG's score: frames that bear on the question clearly more than others (arXiv 2411.13093)."""

from dataclasses import dataclass
from typing import ClassVar

from bvllm.primitives.assignment import Assignment
from bvllm.stages.method import FrameMethod, Lands, Slot
from bvllm.types import Clip, SignalName, Signals

SCALE = 3.0  # beta
THRESHOLD = 0.3
LEAST = 1e-12


@dataclass(frozen=True)
class VideoRAGFrames(FrameMethod):
    """Keep frames whose share of the clip's relevance is above a threshold, the most relevant first.

    A frame's score is its cosine * (beta T / 16) / (sum of all), so 0.3 with beta 3 is 1.6 times the mean:
    how many pass is the video's own matter, and fewer than the budget may be left. Where none passes, nothing
    stands out, and the most relevant ones stay.

    Shares are of cosines, which `Signals.relevance` has moved to 0..1: moved, hardly any frame of a real
    video is 1.6 times the mean. The authors take products of CLIP's raw features with "A picture of" each
    thing that is asked for. Where some cosines are below 0, as SigLIP's may be, all are counted from the
    lowest; with a sum below 0 any frame above 0 would pass.

    The authors run an object detector on these frames and give its words to the language model; that, and
    the retrieval of speech and of written text, is not here.

    Attributes:
        scale: beta.
        threshold: what a score must exceed.
        released: relevance is what the authors' code has, CLIP's own products, and not a scorer's moved ones.

    Source: Video-RAG (arXiv 2411.13093), the score through its released pipeline; its use to choose frames is
    ours.

    Example:
        >>> import torch
        >>> clip = Clip(torch.zeros(4, 1), torch.arange(4.0))
        >>> asked = Signals(relevance=torch.tensor([0.1, 0.9, 0.1, 0.1]))
        >>> VideoRAGFrames().assign(clip, 3, asked).anchor.tolist()
        [1]
    """

    slots: ClassVar[tuple[Slot, ...]] = ("select_frames",)
    paper: ClassVar[str] = "https://arxiv.org/abs/2411.13093"
    needs: ClassVar[frozenset[SignalName]] = frozenset({"relevance"})
    lands: ClassVar[Lands] = "below"

    scale: float = SCALE
    threshold: float = THRESHOLD
    released: bool = False

    def assign(self, clip: Clip, keep: int, signals: Signals) -> Assignment:
        assert signals.relevance is not None  # the pipeline checks what a method needs
        cosine = signals.relevance.double() if self.released else 2 * signals.relevance.double() - 1
        above = cosine - cosine.min().clamp(max=0)
        score = above * (self.scale * len(clip) / 16) / above.sum().clamp_min(LEAST)
        best = score.argsort(descending=True, stable=True)[:keep]
        passing = best[score[best] > self.threshold]
        return Assignment.keep(passing if len(passing) else best, len(clip))
