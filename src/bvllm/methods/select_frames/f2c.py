"""F2C: short clips around frames that the question is about (arXiv 2510.02262)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from bvllm.primitives.assignment import Assignment
from bvllm.primitives.clusters import spherical_means
from bvllm.primitives.matching import unit
from bvllm.stages.method import FrameMethod, Slot
from bvllm.types import Clip, SignalName, Signals

ROUNDS, TOLERANCE, LEAST = 50, 1e-4, 1e-6


@dataclass(frozen=True)
class F2C(FrameMethod):
    """Choose anchors that are relevant and differ, and grow each to a run of neighbouring frames.

    Candidates are the peaks of relevance over time (one for each basin of a watershed). They are clustered by
    what they show, and the most relevant of each cluster is an anchor. Then clips grow a frame at a time, at
    the edge that scores best: relevant, unlike the frame beside it, of a clip that is not long yet.

    From count to count: the authors lower the resolution of clips so that they cost what single frames did.
    Here the count of frames is given, a quarter of them anchors, and the tokens of each follow from the
    budget over all frames, as they do for any selection.

    Attributes:
        length: frames to an anchor, on average.
        redundancy: weight of the likeness to the frame beside it, against relevance from 0 to 1.
        patience: weight of a clip's length, over the average, against the same.

    Source: from the abstract of F2C (arXiv 2510.02262) and summaries; no code was found; the weights, and
    that length counts against a clip, are ours.

    Example:
        >>> clip = Clip(torch.eye(9), torch.arange(9.0))
        >>> asked = Signals(relevance=torch.tensor([0.0, 0.1, 0.9, 0.2, 0.0, 0.0, 0.1, 0.8, 0.3]))
        >>> F2C(length=2).assign(clip, 4, asked).anchor.tolist()
        [2, 3, 7, 8]
    """

    slots: ClassVar[tuple[Slot, ...]] = ("select_frames",)
    paper: ClassVar[str] = "https://arxiv.org/abs/2510.02262"
    needs: ClassVar[frozenset[SignalName]] = frozenset({"relevance"})

    length: int = 4
    redundancy: float = 0.5
    patience: float = 0.1

    def assign(self, clip: Clip, keep: int, signals: Signals) -> Assignment:
        assert signals.relevance is not None  # the pipeline checks what a method needs
        x, relevance = unit(clip.features.detach()), signals.relevance.double()
        spread = (relevance.max() - relevance.min()).clamp_min(LEAST)
        worth = ((relevance - relevance.min()) / spread).tolist()
        drawn = torch.Generator().manual_seed(signals.seed)
        clips = [[a, a] for a in _anchors(x, worth, max(1, keep // self.length), drawn)]
        beside = (x[1:] * x[:-1]).sum(dim=-1).tolist()
        taken = {a for a, _ in clips}
        while len(taken) < keep:
            steps = [
                (
                    worth[new]
                    - self.redundancy * beside[min(old, new)]
                    - self.patience * (b - a) / self.length,
                    k,
                    new,
                )
                for k, (a, b) in enumerate(clips)
                for old, new in ((a, a - 1), (b, b + 1))
                if 0 <= new < len(clip) and new not in taken
            ]
            _, k, new = max(steps)
            clips[k] = [min(clips[k][0], new), max(clips[k][1], new)]
            taken.add(new)
        return Assignment.keep(torch.tensor(sorted(taken), device=x.device), len(clip))


def _anchors(x: Tensor, worth: list[float], count: int, drawn: torch.Generator) -> list[int]:
    """The most relevant of each of `count` clusters of peaks, in order of time."""
    peaks = _peaks(worth)
    if len(peaks) <= count:
        return peaks
    label = spherical_means(x[peaks], count, ROUNDS, TOLERANCE, drawn).tolist()
    best = {
        group: max((k for k, g in zip(peaks, label) if g == group), key=worth.__getitem__) for group in label
    }
    return sorted(best.values())


def _peaks(worth: list[float]) -> list[int]:
    """Frames with no more relevant neighbour; of an even stretch, its first.

    Example:
        >>> _peaks([0.0, 2.0, 2.0, 1.0, 3.0]), _peaks([1.0, 1.0])
        ([1, 4], [0])
    """
    runs = [k for k in range(len(worth)) if not k or worth[k] != worth[k - 1]]
    values = [worth[k] for k in runs]
    edge = float("-inf")
    around = zip([edge, *values], values, [*values[1:], edge])
    return [k for k, (before, here, after) in zip(runs, around) if before < here > after]
