"""FastVID: cut the clip into scenes, keep what stands out, gather the rest by density (arXiv 2503.11187)."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from bvllm.primitives.choice import strongest
from bvllm.primitives.clusters import density_peaks
from bvllm.primitives.matching import cosine, unit
from bvllm.primitives.reduction import Reduction
from bvllm.stages.by_frame import frame_slices, largest_remainders
from bvllm.stages.merge_tokens import equal_shares
from bvllm.stages.method import Lands, Slot, TokenMethod
from bvllm.stages.reading import Reading
from bvllm.types import SignalName, Signals, Tokens


class Shares(NamedTuple):
    """How many tokens each of F frames keeps as they are, and how many anchors it has for the others."""

    salient: list[int]
    anchors: list[int]


@dataclass(frozen=True)
class FastVID(TokenMethod):
    """Cut between unlike frames; keep salient tokens, and merge the rest of a scene into dense anchors.

    A scene ends where a frame is unlike the next: at the least similar neighbours and wherever they are less
    similar than a threshold. Of each frame the tokens with the most attention stay as they are. On every
    fourth frame of a scene, counted from its end, stand anchors, its densest tokens that are far from denser
    ones; every other token of the scene joins the most similar anchor of each of these frames. An anchor
    becomes itself and the mean of what joined it.

    Attributes:
        scenes: at least so many.
        tau: cosine of neighbouring frames below which a scene ends.
        context: share of the tokens that are anchors.
        stride: frames of a scene for one that has anchors.
        anchor: least weight of an anchor beside the mean.
        neighbours: rows that make up a density.
        released: round counts as the authors' code does, by frame, with the most per frame that stay within
            the budget; else the budget is shared out whole.

    Source: FastVID (arXiv 2503.11187), through its released code, without the noise that it adds to
        densities. There, a frame is described by what SigLIP's pooling head makes of it; here by the mean of
        its tokens, weighted by the head's attention. Without such a head [CLS] gives the attention, or else
        what a patch receives from the others.

    Example:
        >>> x = torch.eye(4)[[0, 0, 1, 2]][None].repeat(2, 1, 1)  # two frames of one scene
        >>> seen = Signals(attention=torch.tensor([0.1, 0.1, 0.2, 0.6] * 2))
        >>> plan = FastVID(scenes=1).assign(Tokens.of(x, torch.arange(2.0)), 5, seen).in_order()
        >>> plan.anchor.tolist(), plan.count(torch.ones(8)).tolist()
        ([3, 4, 5, 6, 7], [1.0, 5.0, 1.0, 1.0, 1.0])
    """

    slots: ClassVar[tuple[Slot, ...]] = ("merge_tokens", "sample_tokens")
    paper: ClassVar[str] = "https://arxiv.org/abs/2503.11187"
    needs: ClassVar[frozenset[SignalName]] = frozenset({"attention"})
    reads: ClassVar[Reading] = Reading(("head", "cls", "received"))
    lands: ClassVar[Lands] = "below"
    across: ClassVar[bool] = True

    scenes: int = 8
    tau: float = 0.9
    context: float = 0.4
    stride: int = 4
    anchor: float = 0.6
    neighbours: int = 4
    released: bool = False

    def assign(self, tokens: Tokens, keep: int, signals: Signals) -> Reduction:
        assert signals.attention is not None
        places, attention = frame_slices(tokens), signals.attention.float()
        sizes = [place.stop - place.start for place in places]
        ends = self.ends_of_scenes(tokens.features.detach(), attention, places)
        shares = self._released_shares(sizes, ends, keep) if self.released else self.shares(sizes, ends, keep)
        salient, rest = [], []
        for place, count in zip(places, shares.salient):
            order = place.start + strongest(attention[place], place.stop - place.start)
            salient.append(order[:count])
            rest.append(order[count:].sort().values)
        kept = torch.cat(salient)
        number = torch.arange(len(kept), device=kept.device)
        own = Reduction.of(number, kept, torch.ones(len(kept), device=kept.device), len(kept), len(tokens))
        parts = [own] if len(kept) else []
        for first, last in pairwise([0, *ends]):
            scene = torch.cat(rest[first:last])
            for frame in range(first, last):
                if shares.anchors[frame]:
                    parts.append(self._gathered(tokens, rest[frame], scene, shares.anchors[frame]))
        return Reduction.beside(parts)

    def ends_of_scenes(self, x: Tensor, attention: Tensor, places: Sequence[slice]) -> list[int]:
        """The frame behind the last of each scene, ascending."""
        described = [
            attention[place] @ x[place].float() / attention[place].sum().clamp_min(1e-9) for place in places
        ]
        frames = unit(torch.stack(described))
        alike = (frames[:-1] * frames[1:]).sum(dim=1)
        cut = alike < self.tau
        cut[strongest(-alike, self.scenes - 1)] = True
        return [*(cut.nonzero()[:, 0] + 1).tolist(), len(places)]

    def shares(self, sizes: Sequence[int], ends: Sequence[int], keep: int) -> Shares:
        """The whole budget: anchors by the length of their scene, the rest equally over the frames."""
        wanted = [0.0] * len(sizes)
        for first, last in pairwise([0, *ends]):
            on = range(last - 1, first - 1, -self.stride)
            for frame in on:
                wanted[frame] = keep * self.context * sum(sizes[first:last]) / sum(sizes) / len(on)
        salient = equal_shares(sizes, keep - int(keep * self.context))
        left = [size - count if share else 0 for size, count, share in zip(sizes, salient, wanted)]
        anchors = largest_remainders(wanted, left, keep - sum(salient))
        room = [size - anchor for size, anchor in zip(sizes, anchors)]
        return Shares(equal_shares(room, keep - sum(anchors)), anchors)

    def _released_shares(self, sizes: Sequence[int], ends: Sequence[int], keep: int) -> Shares:
        """As many per frame as the authors' code would keep, rounded down at each step."""
        each = min(keep // len(sizes), min(sizes))
        if not each:  # less than one per frame, which their code cannot keep
            return Shares(equal_shares(sizes, keep), [0] * len(sizes))
        context = int(each * self.context)
        anchors = [0] * len(sizes)
        for first, last in pairwise([0, *ends]):
            on = range(last - 1, first - 1, -self.stride)
            for frame in on:
                anchors[frame] = min(context * (last - first) // len(on), sizes[frame] - each + context)
        return Shares([each - context] * len(sizes), anchors)

    def _gathered(self, tokens: Tokens, mine: Tensor, scene: Tensor, count: int) -> Reduction:
        """The anchors of one frame, with what the tokens of its scene give them."""
        x = tokens.features.detach()
        anchor = mine[density_peaks(x[mine], count, self.neighbours).centre]
        joins = cosine(x[scene], x[anchor]).argmax(dim=1)
        joined = torch.bincount(joins, minlength=count).float()
        own = (1 / (joined + 1)).clamp_min(self.anchor)
        number = torch.arange(count, device=x.device)
        return Reduction.of(
            torch.cat([number, joins]),
            torch.cat([anchor, scene]),
            torch.cat([own, ((1 - own) / joined.clamp_min(1))[joins]]),
            count,
            len(tokens),
        )
