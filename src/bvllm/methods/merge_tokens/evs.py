"""EVS, as vLLM serves it: keep the first frame and what changes (arXiv 2510.14624)."""

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch

from bvllm.primitives.assignment import Assignment
from bvllm.stages.by_frame import frame_slices, likeness
from bvllm.stages.method import Slot, TokenMethod
from bvllm.stages.pipeline import thin_evenly
from bvllm.types import Signals, Tokens


@dataclass(frozen=True)
class EVS(TokenMethod):
    """Keep all tokens of the first frame, and of the others those least like their place in the frame before.

    One ranking over the whole clip, so still stretches get nothing and a cut gets much; earlier tokens win
    ties. From ratio to count: the server keeps (1 - rate) of all tokens and never fewer than one frame holds.
    A budget below that is outside its rule. Here the first frame is then thinned to an equal share. Likeness
    is compared in float32; the server compares in whatever precision the features have.

    Source: Efficient Video Sampling (arXiv 2510.14624), through vLLM's code (`vllm/multimodal/evs.py`); the
    paper's text was not at hand.

    Example:
        >>> frames = torch.eye(3).repeat(3, 1, 1)
        >>> frames[2, 0] = frames[2, 1]
        >>> EVS().assign(Tokens.of(frames, torch.arange(3.0)), 4, Signals()).anchor.tolist()
        [0, 1, 2, 6]
    """

    slots: ClassVar[tuple[Slot, ...]] = ("merge_tokens", "sample_tokens")
    paper: ClassVar[str] = "https://arxiv.org/abs/2510.14624"
    across: ClassVar[bool] = True

    def assign(self, tokens: Tokens, keep: int, signals: Signals) -> Assignment:
        places = frame_slices(tokens)
        first, device = places[0].stop, tokens.features.device
        if keep < first:
            share = first if len(places) == 1 else -(-keep // len(places))
            whole = thin_evenly(first, min(share, keep), device).anchor
        else:
            whole = torch.arange(first, device=device)
        if len(whole) == keep:
            return Assignment.keep(whole, len(tokens))
        alike = [likeness(tokens.features, here, before) for before, here in pairwise(places)]
        order = (1 - torch.cat(alike)).argsort(descending=True, stable=True)
        return Assignment.keep(torch.cat([whole, first + order[: keep - len(whole)]]), len(tokens))
