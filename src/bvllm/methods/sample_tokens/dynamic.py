"""Adaptive pooling by the number of frames, as Dynamic-VLM compresses (arXiv 2412.09530)."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from bvllm.primitives.reduction import Reduction
from bvllm.stages.compressors.pool import cell_plan
from bvllm.stages.frame_grids import Grid, frames_that_fit, released_grids, share_grids
from bvllm.stages.method import Lands, Slot, TokenMethod
from bvllm.stages.pipeline import thin_evenly
from bvllm.types import SignalName, Signals, Tokens


@dataclass(frozen=True)
class DynamicPool(TokenMethod):
    """Pool every frame to a grid of its own, so that the clip comes close to the budget and never above it.

    Where frames outnumber tokens they are thinned evenly first. Blind to content and question. It shares the
    clip's tokens out by itself: grids of whole rows and columns come near to the sum for all frames, and far
    less near to a count of each.

    Attributes:
        released: all frames get one square of side floor(sqrt(keep / frames)), which leaves up to a third of
            the count unspent; else grids differ from frame to frame.

    Source: Dynamic-VLM (arXiv 2412.09530), from the note; grids that differ from frame to frame are ours.

    Example:
        >>> tokens = Tokens.of(torch.zeros(3, 16, 2), torch.arange(3.0))
        >>> len(DynamicPool().assign(tokens, 20, Signals(grid=(4, 4))))
        20
    """

    slots: ClassVar[tuple[Slot, ...]] = ("sample_tokens",)
    paper: ClassVar[str] = "https://arxiv.org/abs/2412.09530"
    needs: ClassVar[frozenset[SignalName]] = frozenset({"grid"})
    lands: ClassVar[Lands] = "below"
    across: ClassVar[bool] = True

    released: bool = False

    def assign(self, tokens: Tokens, keep: int, signals: Signals) -> Reduction:
        native = Grid(*(signals.grid or (1, len(tokens))))
        frames = len(tokens) // native.cells
        fitting = frames_that_fit(frames, keep, frames)
        kept = thin_evenly(frames, fitting).anchor.tolist()
        share = released_grids if self.released else share_grids
        plans = [cell_plan(grid, native) for grid in share(fitting, keep, native)]
        starts = torch.tensor([0, *(len(plan) for plan in plans)]).cumsum(0)
        device = tokens.features.device
        return Reduction.of(
            torch.cat([plan.output + int(start) for plan, start in zip(plans, starts)]).to(device),
            torch.cat([plan.input + frame * native.cells for plan, frame in zip(plans, kept)]).to(device),
            torch.cat([plan.weight for plan in plans]).to(device),
            int(starts[-1]),
            len(tokens),
        )
