"""D-CoDe's tokens: the strongest of each frame, alike ones merged (arXiv 2510.08818)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from bvllm.primitives.assignment import DROP, Assignment
from bvllm.primitives.matching import cosine
from bvllm.primitives.reduction import Reduction
from bvllm.stages.each_frame import PictureMethod
from bvllm.stages.method import Lands, Slot
from bvllm.types import Signals, Tokens

ALIKE = 0.8


@dataclass(frozen=True)
class DCoDeTokens(PictureMethod):
    """Keep each frame's tokens of largest norm, and merge those among them that are alike.

    Strongest first, each token that is not merged yet takes all weaker ones alike to it into its mean.

    From ratio to count: the authors take the 288 strongest of 576 (320 with the larger model) and merge from
    there; here the strongest are a frame's equal share of the budget. Merging leaves fewer. What is left
    stays in reading order; the code has it by norm.

    Attributes:
        threshold: cosine from which two tokens are alike.
        released: as the authors' code: a token's mean takes in all that are alike, merged already or not, in
            the values that they have by then; and a token goes where any stronger one is alike to it, even
            one that is gone itself.

    Source: D-CoDe (arXiv 2510.08818), through its released code (`token_select_and_merge`); what it says of
    the rule was not read in the paper.

    Example:
        >>> frame = torch.tensor([[[1.0, 0.0], [0.0, 3.0], [2.0, 0.1], [0.1, 0.1]]])
        >>> DCoDeTokens().assign(Tokens.of(frame, torch.zeros(1)), 3, Signals()).target.tolist()
        [1, 0, 1, -1]
    """

    slots: ClassVar[tuple[Slot, ...]] = ("merge_tokens", "sample_tokens")
    paper: ClassVar[str] = "https://arxiv.org/abs/2510.08818"
    lands: ClassVar[Lands] = "below"

    threshold: float = ALIKE
    released: bool = False

    def assign_frame(self, tokens: Tokens, keep: int, signals: Signals) -> Assignment | Reduction:
        x = tokens.features.detach().float()
        strongest = x.norm(dim=-1).argsort(descending=True, stable=True)[:keep]
        alike = (cosine(x[strongest]) >= self.threshold).cpu()
        alike.fill_diagonal_(True)  # a token of zeros is like nothing, not even by this measure like itself
        if self.released:
            return _as_the_code(alike, strongest, len(tokens))
        leader = torch.full((keep,), DROP)
        for k in range(keep):
            if leader[k] == DROP:
                leader[alike[k] & (leader == DROP)] = k
        into = torch.arange(len(tokens), device=x.device)
        into[strongest] = strongest[leader.to(x.device)]
        kept = Assignment.keep(strongest, len(tokens))
        return kept.then(Assignment.merge(kept.target[into[kept.anchor]]))


def _as_the_code(alike: Tensor, strongest: Tensor, inputs: int) -> Reduction:
    """The authors' loop on rows of weights in place of features."""
    weights, stays = torch.eye(len(alike)), torch.ones(len(alike), dtype=torch.bool)
    for k in range(len(alike)):
        same = alike[k].nonzero()[:, 0]
        if stays[k] and len(same) > 1:
            weights[k] = weights[same].mean(dim=0)
            stays[same[1:]] = False
    full = torch.zeros(int(stays.sum()), inputs)
    full[:, strongest.cpu()] = weights[stays]
    return Reduction.dense(full.to(strongest.device))
