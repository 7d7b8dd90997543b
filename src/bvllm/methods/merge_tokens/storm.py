"""STORM's sampling at test time: the tokens of every n-th frame (arXiv 2503.04130)."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from bvllm.primitives.assignment import Assignment
from bvllm.stages.by_frame import frame_slices
from bvllm.stages.method import Lands, Slot, TokenMethod
from bvllm.stages.pipeline import thin_evenly
from bvllm.types import Signals, Tokens


@dataclass(frozen=True)
class STORMSampling(TokenMethod):
    """Keep the tokens of every n-th frame, all of them, from the first frame on.

    From ratio to count: n is the least whose frames fit the budget, so fewer may be left; where one frame
    does not fit, the first is thinned evenly. The Mamba layers that let each token carry what came before
    are trained, and not here; nor is the averaging of consecutive frames and of places that goes with them.

    Source: from the abstract of STORM (arXiv 2503.04130) and summaries; no code was found.

    Example:
        >>> tokens = Tokens.of(torch.zeros(5, 2, 1), torch.arange(5.0))
        >>> STORMSampling().assign(tokens, 7, Signals()).anchor.tolist()
        [0, 1, 4, 5, 8, 9]
    """

    slots: ClassVar[tuple[Slot, ...]] = ("merge_tokens", "sample_tokens")
    paper: ClassVar[str] = "https://arxiv.org/abs/2503.04130"
    lands: ClassVar[Lands] = "below"
    across: ClassVar[bool] = True

    def assign(self, tokens: Tokens, keep: int, signals: Signals) -> Assignment:
        places = frame_slices(tokens)
        for every in range(1, len(places) + 1):
            kept = torch.cat([torch.arange(place.start, place.stop) for place in places[::every]])
            if len(kept) <= keep:
                return Assignment.keep(kept.to(tokens.features.device), len(tokens))
        first = thin_evenly(places[0].stop, keep, tokens.features.device)
        return Assignment.keep(first.anchor, len(tokens))
