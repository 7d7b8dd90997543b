"""PruneVid: average what stands still, cluster the rest (arXiv 2412.16117)."""

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor

from bvllm.primitives.assignment import DROP, Assignment
from bvllm.primitives.clusters import density_peaks
from bvllm.primitives.matching import unit
from bvllm.stages.by_frame import frame_means, frame_slices, largest_remainders
from bvllm.stages.method import Lands, Slot, TokenMethod
from bvllm.types import Signals, Tokens

STILL = 0.8
SEGMENTS = 0.25  # of the frames
GROUPS = 0.5  # of the tokens of a part
FEWEST = 14  # tokens that the authors' code leaves as they are


@dataclass(frozen=True)
class PruneVid(TokenMethod):
    """Cut the clip into scenes, average what stands still in each over time, and cluster the rest.

    Frames are clustered by their means (DPC-KNN, a quarter as many groups as frames) and the groups made
    runs in time. In a scene, places whose tokens have a mean pairwise cosine above 0.8 are static: each
    becomes one token. The static tokens of a scene, and the other tokens of each of its frames, are then
    clustered in space (DPC-KNN), each cluster becoming its mean.

    From ratio to count: the authors keep half of each part as clusters, where it holds more than 14 tokens.
    Here each part keeps its proportion of the budget, one cluster at least; where parts outnumber the budget,
    the smallest go. Nothing is clustered where the static averages alone fit, so fewer may be left.

    The second half of the paper, choosing by the attention of the language model, is not a stage.

    Attributes:
        threshold: mean cosine above which a place stands still.
        released: the authors' counts of clusters, where they fit the budget; fewer, where they do not. Their
            random tie-breaking is left out.

    Source: PruneVid (arXiv 2412.16117), through its released code (`merge_frames_dynamic`); the paper's text
    was not at hand.

    Example:
        >>> tokens = Tokens.of(torch.eye(3).repeat(8, 1, 1), torch.arange(8.0))
        >>> PruneVid().assign(tokens, 24, Signals()).anchor.tolist()
        [0, 1, 2]
    """

    slots: ClassVar[tuple[Slot, ...]] = ("merge_tokens", "sample_tokens")
    paper: ClassVar[str] = "https://arxiv.org/abs/2412.16117"
    lands: ClassVar[Lands] = "below"
    across: ClassVar[bool] = True

    threshold: float = STILL
    released: bool = False

    def assign(self, tokens: Tokens, keep: int, signals: Signals) -> Assignment:
        places, x = frame_slices(tokens), tokens.features.detach()
        parts: list[Tensor] = []
        for scene in _scenes(frame_means(tokens, places)):
            parts += _parts(x, [places[k] for k in scene], self.threshold)
        into = torch.full((len(tokens),), DROP, device=x.device)
        for part, count in zip(parts, self._counts([part.shape[1] for part in parts], keep)):
            if count:
                means = torch.stack([x[place].mean(dim=0, dtype=torch.float32) for place in part.mT])
                centre, label = density_peaks(means, count)
                into[part] = part[0, centre[label]]
        stays = Assignment.keep((into != DROP).nonzero()[:, 0], len(tokens))
        return stays.then(Assignment.merge(stays.target[into[stays.anchor]]))

    def _counts(self, sizes: list[int], keep: int) -> list[int]:
        """How many clusters each part becomes."""
        wanted = [n if n <= FEWEST or not self.released else int(n * GROUPS) for n in sizes]
        if sum(wanted) <= keep:
            return wanted
        shares = [n * keep / sum(wanted) for n in wanted]
        return largest_remainders(shares, sizes, keep, least=int(keep >= len(sizes)))


def _parts(x: Tensor, places: list[slice], threshold: float) -> list[Tensor]:
    """What of a scene is clustered together: indices (frames, n), each column one token in space.

    The static places over all frames come first, then the other tokens of each frame.
    """
    index = [torch.arange(place.start, place.stop, device=x.device) for place in places]
    count = len(places)
    if count == 1 or len({len(part) for part in index}) > 1:  # nothing lasts, or no places in common
        return [part[None] for part in index]
    total = torch.zeros(len(index[0]), x.shape[1], device=x.device)
    for place in places:
        total += unit(x[place])
    # The sum of all pairs of cosines is the squared length of the sum, less those of a token with itself.
    still = (total.square().sum(dim=-1) - count) / (count * (count - 1)) > threshold
    table = torch.stack(index)
    parts = [table[:, still], *(row[None, ~still] for row in table)]
    return [part for part in parts if part.shape[1]]


def _scenes(means: Tensor) -> list[range]:
    """Runs of frames that belong together.

    Example:
        >>> _scenes(torch.tensor([[0.0], [0.1], [0.0], [0.9], [0.8], [0.9], [1.0], [0.9]]))
        [range(0, 3), range(3, 8)]
    """
    count = max(1, int(len(means) * SEGMENTS))
    return _runs(_as_runs(density_peaks(means, count).label.tolist()))


def _runs(label: list[int]) -> list[range]:
    cuts = [0, *(k for k in range(1, len(label)) if label[k] != label[k - 1]), len(label)]
    return [range(a, b) for a, b in pairwise(cuts)]


def _as_runs(label: list[int]) -> list[int]:
    """Each group keeps its longest run, if that is of two frames or more; what is left joins the longer side.

    Example:
        >>> _as_runs([0, 0, 1, 0, 0, 0, 2, 2])
        [0, 0, 0, 0, 0, 0, 2, 2]
    """
    label = list(label)
    runs = _runs(label)
    longest = {group: max(len(run) for run in runs if label[run.start] == group) for group in set(label)}
    loose = [run for run in runs if len(run) == 1 or len(run) < longest[label[run.start]]]
    for run in loose:
        label[run.start : run.stop] = [DROP] * len(run)
    while DROP in label:
        runs = _runs(label)
        here = next(k for k, run in enumerate(runs) if label[run.start] == DROP)
        left = runs[here - 1] if here else range(0)
        right = runs[here + 1] if here + 1 < len(runs) else range(0)
        side = right if len(right) > len(left) else left
        joined = label[side.start] if len(side) else 0
        label[runs[here].start : runs[here].stop] = [joined] * len(runs[here])
    return label
