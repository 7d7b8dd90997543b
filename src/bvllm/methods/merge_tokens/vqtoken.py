"""VQToken's clusters: a small codebook of the clip's tokens (arXiv 2503.16980)."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from bvllm.primitives.assignment import Assignment
from bvllm.primitives.clusters import spherical_means
from bvllm.primitives.reduction import Reduction
from bvllm.stages.method import Lands, Slot, TokenMethod
from bvllm.types import Signals, Tokens


@dataclass(frozen=True)
class VQToken(TokenMethod):
    """Group the tokens of the whole clip by k-means and keep each group's mean.

    Unit vectors, cosine, a k-means++ start from the seed. The number of groups is the budget (32 in the
    authors' code, or as many as a video seems to need; the latter is not here); groups that stay empty are
    left out. A mean stands at its earliest token; as released at its shortest, which weighs most. The trained
    part of VQToken, attention over the codebook by where its entries occur, is not here.

    Attributes:
        rounds: the most; 50 where the authors' code calls its k-means with a fixed number of groups (300 is
            that class's own default).
        tolerance: rounds end where the means together move less.
        released: as the authors' code: an entry is the mean of unit vectors, so that the norm of tokens is
            lost.

    Source: VQToken (arXiv 2503.16980), through its first released code (`KMeansTorch`,
    `kmeans_clustering_tokens_torch`); the paper's text was not at hand.

    Example:
        >>> tokens = Tokens.of(torch.eye(3)[[0, 0, 1, 2]][None], torch.zeros(1))
        >>> VQToken().assign(tokens, 3, Signals()).target.tolist()
        [0, 0, 1, 2]
    """

    slots: ClassVar[tuple[Slot, ...]] = ("merge_tokens", "sample_tokens")
    paper: ClassVar[str] = "https://arxiv.org/abs/2503.16980"
    lands: ClassVar[Lands] = "below"
    conserves: ClassVar[bool] = True
    across: ClassVar[bool] = True

    rounds: int = 50
    tolerance: float = 1e-4
    released: bool = False

    def assign(self, tokens: Tokens, keep: int, signals: Signals) -> Assignment | Reduction:
        x = tokens.features.detach()
        drawn = torch.Generator().manual_seed(signals.seed)
        label = spherical_means(x, keep, self.rounds, self.tolerance, drawn)
        index = torch.arange(len(x), device=x.device)
        first = index.new_full((keep,), len(x)).scatter_reduce(0, label, index, "amin")
        plan = Assignment.merge(first[label])
        if not self.released:
            return plan
        length = x.float().norm(dim=-1)
        members = torch.bincount(plan.target)[plan.target]
        weight = 1 / (members * torch.where(length > 0, length, 1.0))
        return Reduction.of(plan.target, index, weight, len(plan), len(x))
