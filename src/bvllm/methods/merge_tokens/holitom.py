"""HoliTom, the part before the language model: merge what stands still, then thin (arXiv 2505.21334)."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from bvllm.primitives.choice import strongest
from bvllm.primitives.clusters import density_peaks
from bvllm.primitives.reduction import Reduction
from bvllm.stages.by_frame import frame_slices, largest_remainders, likeness
from bvllm.stages.method import Lands, Slot, TokenMethod
from bvllm.stages.reading import Reading
from bvllm.types import SignalName, Signals, Tokens

FEWEST, FEW = 0.1, 0.15  # shares kept in the authors' scripts, the first with a threshold of its own
THRESHOLD_OF_FEWEST, THRESHOLD = 0.65, 0.8
LONGEST = 1024  # frames of a window


class Unit(NamedTuple):
    """Tokens that compete with each other: those of one frame that change, or those of a window that do not.

    Attributes:
        parts: (n, t) the inputs that each of n tokens is the mean of, the first the one that it stands on.
        still: whether they are a window's.
    """

    parts: Tensor
    still: bool


@dataclass(frozen=True)
class HoliTom(TokenMethod):
    """Cut the clip where most is still, merge the still places of each window over time, and keep a share.

    Windows are those that save the most tokens in all: a place saves one token a frame where it is like
    itself from each frame of the window to the next. Still places become the mean over the window. Of the
    rest each frame keeps the tokens that receive the most attention, of the still ones clusters by density
    stay, each its centre and the mean of what joined it. The share that is kept is the budget's, corrected by
    what merging has saved.

    Attributes:
        tau: cosine above which a place is still; None takes the authors' 0.65 for a budget of 10 %, and 0.8
            for more (15 to 25 % in their scripts).
        centre: weight of a cluster's centre beside the mean of the others.
        neighbours: rows that make up a density.
        released: round counts as the authors' code does (up in frames, to the nearest in windows), with the
            largest share that stays within the budget; else the budget is shared out whole.

    Source: HoliTom (arXiv 2505.21334), through its released code, without the noise that it adds to
        densities. The part inside the language model is `prune_layers holitom`; clusters among moving tokens,
        which its scripts switch off (D = 0), are left out.

    Example:
        >>> x = torch.eye(4).repeat(3, 1, 1)  # nothing moves: one token stands for a place of all frames
        >>> seen = Signals(attention=torch.ones(12))
        >>> plan = HoliTom().assign(Tokens.of(x, torch.arange(3.0)), 4, seen)
        >>> len(plan), plan.count(torch.ones(12)).tolist()
        (4, [3.0, 3.0, 3.0, 3.0])
    """

    slots: ClassVar[tuple[Slot, ...]] = ("merge_tokens", "sample_tokens")
    paper: ClassVar[str] = "https://arxiv.org/abs/2505.21334"
    needs: ClassVar[frozenset[SignalName]] = frozenset({"attention"})
    reads: ClassVar[Reading] = Reading(("received",))
    lands: ClassVar[Lands] = "below"
    across: ClassVar[bool] = True

    tau: float | None = None
    centre: float = 0.6
    neighbours: int = 7
    released: bool = False

    def assign(self, tokens: Tokens, keep: int, signals: Signals) -> Reduction:
        assert signals.attention is not None
        share = keep / len(tokens)
        few = THRESHOLD_OF_FEWEST if share < (FEWEST + FEW) / 2 else THRESHOLD
        units = self.units(tokens, few if self.tau is None else self.tau)
        sizes = [len(unit.parts) for unit in units]
        if self.released:
            counts = _rounded(units, keep)
        else:
            counts = largest_remainders([keep * size / sum(sizes) for size in sizes], sizes, keep)
        attention = signals.attention.float()
        parts = [
            self._of_window(tokens, unit, count) if unit.still else _of_frame(attention, unit, count)
            for unit, count in zip(units, counts)
            if count
        ]
        return Reduction.beside(parts)

    def units(self, tokens: Tokens, tau: float) -> list[Unit]:
        """What is left of a clip when windows are merged over time, frame by frame and window by window."""
        places = frame_slices(tokens)
        each = places[0].stop
        if any(place.stop - place.start != each for place in places):  # no places that frames have in common
            still = torch.zeros(len(places) - 1, 1, dtype=torch.bool)
        else:
            pairs = zip(places[1:], places)
            alike = [likeness(tokens.features, here, before) > tau for here, before in pairs]
            still = torch.stack(alike) if alike else torch.zeros(0, each, dtype=torch.bool)
        found = []
        for first, last in best_windows(still):
            here = torch.arange(places[first].start, places[last].stop, device=tokens.features.device)
            if first == last:
                found.append(Unit(here[:, None], still=False))
                continue
            stays = still[first:last].all(dim=0).to(here.device)
            grid = here.view(last - first + 1, each)
            found.append(Unit(grid[:, stays].T, still=True))
            found += [Unit(frame[~stays][:, None], still=False) for frame in grid]
        return [unit for unit in found if len(unit.parts)]

    def _of_window(self, tokens: Tokens, unit: Unit, count: int) -> Reduction:
        """Clusters among the still places of a window: what they are made of."""
        size, length = unit.parts.shape
        x = sum(tokens.features[column].detach().float() for column in unit.parts.T) / length
        assert isinstance(x, Tensor)
        centre, label = density_peaks(x, count, min(self.neighbours, count))
        joined = torch.bincount(label, minlength=count) - 1
        own = torch.where(joined > 0, self.centre, 1.0)[label]
        other = ((1 - self.centre) / joined.clamp_min(1))[label]
        is_centre = torch.zeros(size, dtype=torch.bool, device=x.device)
        is_centre[centre] = True
        weight = torch.where(is_centre, own, other) / length
        output = label.repeat_interleave(length)
        weights = weight.repeat_interleave(length)
        return Reduction.of(output, unit.parts.flatten(), weights, count, len(tokens))


def _of_frame(attention: Tensor, unit: Unit, count: int) -> Reduction:
    """The tokens of a frame that receive the most attention."""
    inputs = unit.parts[:, 0]
    kept = inputs[strongest(attention[inputs], count)].sort().values
    number = torch.arange(count, device=kept.device)
    return Reduction.of(number, kept, torch.ones_like(number, dtype=torch.float32), count, len(attention))


def _rounded(units: Sequence[Unit], keep: int) -> list[int]:
    """Counts as the authors' code rounds them, for the largest share with which they stay within `keep`."""

    def counts(share: float) -> list[int]:
        exact = [(len(unit.parts), unit.still) for unit in units]
        return [round(size * share) if still else ceil(size * share) for size, still in exact]

    low, high = 0.0, 1.0
    if sum(counts(high)) <= keep:
        return counts(high)
    for _ in range(40):  # far below a token's share of any clip
        middle = (low + high) / 2
        low, high = (middle, high) if sum(counts(middle)) <= keep else (low, middle)
    found = counts(low)
    if not sum(found):  # not even one of each: evenly spaced ones
        for k in range(keep):
            found[(2 * k + 1) * len(units) // (2 * keep)] = 1
    return found


def best_windows(still: Tensor, longest: int = LONGEST) -> list[tuple[int, int]]:
    """Cut T frames into windows that save the most tokens, first and last frame of each.

    A window from a to b saves (b - a) tokens for every place that is still all along. Of equal cuts the one
    with single frames wins, then the one with shorter windows.

    Args:
        still: (T - 1, N) True where a place is like itself in the next frame.
        longest: the most frames of a window.

    Source: HoliTom (arXiv 2505.21334), its dynamic programme, through the released code.

    Example:
        >>> best_windows(torch.tensor([[True, True], [False, False], [True, False]]))
        [(0, 1), (2, 3)]
    """
    frames = len(still) + 1
    saved = torch.zeros(frames, frames, dtype=torch.long)
    for first in range(frames - 1):
        along = still[first:].cummin(dim=0).values.sum(dim=1).cpu()
        saved[first, first + 1 :] = along * torch.arange(1, frames - first)
    best, start = [0] * (frames + 1), [0] * frames  # best[k]: of the first k frames
    for last in range(frames):
        best[last + 1], start[last] = best[last], last
        for first in range(last - 1, max(-1, last - longest), -1):
            if (total := best[first] + int(saved[first, last])) > best[last + 1]:
                best[last + 1], start[last] = total, first
    cut, last = [], frames - 1
    while last >= 0:
        cut.append((start[last], last))
        last = start[last] - 1
    return cut[::-1]
