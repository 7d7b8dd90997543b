"""Temporal frame token merging (B-VLLM, arXiv 2412.09919, Sec. 3.3, eq. 2-5).

Several queries may point at the same frame. Rows of S are put back in the order of time, and rows that point
alike become one row, their mean. It all happens on S, before a single patch feature is needed:

    t_i = sum_j S_ij t_j, rows sorted by t_i    the order of time
    c_ij = cos(S_i, S_j)                        the plain cosine of two rows
    j joins i  where  c_ij >= gamma, i < j      eq. 2 and 3: duplicates follow the earliest leader
    V*_i <- mean of all frames that joined i    eq. 4 and 5

Since V*_i = S_i V, the mean of rows is the mean of frames. The text goes through the frames "in an iterative
manner"; s_i in eq. 2 is a row of S, which no equation changes, so that a merged frame is still compared by
the row that it had, and nothing is left for it to take. One-hot rows, as at inference, are merged alike or
not at all; of noisy rows of training (tau 0.1, gamma 0.5 or 0.75, 8 to 600 frames, random scores) 0 to 12 %
of draws would merge further if means were compared again.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from bvllm.primitives.assignment import DROP, Assignment
from bvllm.primitives.matching import cosine, match_earlier
from bvllm.stages.method import Lands, Method, Slot

ROUNDING = 1e-6  # the cosine of a row with itself may be less than 1 by this, and equal rows are alike
GAMMA = 0.75  # the paper states none (Sec. 5.3 names three); its code has this number on another scale


def order_by_time(S: Tensor, seconds: Tensor) -> Tensor:
    """The order of the rows of S by the time they point at, oldest first; equals keep their order.

    Args:
        S: (L, T) rows that sum to 1.
        seconds: (T,) presentation times.

    Returns:
        (L,) indices: `S[order_by_time(S, seconds)]` is sorted.

    Example:
        >>> S = torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
        >>> order_by_time(S, torch.tensor([3.0, 8.0])).tolist()
        [1, 0, 2]
    """
    _check(S)
    if seconds.shape != S.shape[1:]:
        raise ValueError(
            f"seconds must have one time for each of the {S.shape[1]} columns of S, "
            f"got shape {tuple(seconds.shape)}: take both from one clip"
        )
    return (S.double() @ seconds.double()).argsort(stable=True)


@dataclass(frozen=True)
class SimilarFrameMerging(Method):
    """Rows of S that point alike become one, leader by leader; no frame's content is ever lost.

    The earliest row leads, takes all later rows alike, and the next row left leads on. Merged rows are means
    in which every row counts once.

    Attributes:
        threshold: gamma; the plain cosine at which two rows are the same. The paper states no default:
            Sec. 5.3 names 0.5, 0.75 and 1.
        released: what the authors' code does instead of what the paper says: (cos + 1) / 2 against the
            threshold, so 0.75 means a cosine of 0.5; one pass in which every row goes to its most similar
            earlier row; a row whose goal was itself merged away is lost (DROP). Rows come in the order of the
            queries, not of time.

    Raises:
        ValueError: the threshold is outside (0, 1].

    Source: B-VLLM (arXiv 2412.09919), Sec. 3.3, eq. 2-5.

    Example:
        >>> S = torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
        >>> plan = SimilarFrameMerging().assign(S)
        >>> plan.target.tolist(), plan.sum(torch.ones(3)).tolist()
        ([0, 0, 1], [2.0, 1.0])
    """

    slots: ClassVar[tuple[Slot, ...]] = ("merge_frames",)
    paper: ClassVar[str] = "https://arxiv.org/abs/2412.09919"
    lands: ClassVar[Lands] = "below"

    threshold: float = GAMMA
    released: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.threshold <= 1:
            raise ValueError(f"threshold must lie in (0, 1], got {self.threshold}: the usual one is {GAMMA}")

    def assign(self, S: Tensor) -> Assignment:
        """Decide which rows of S (L, T) become one: oldest first, but as queries where `released`."""
        _check(S)
        if self.released:
            return _one_pass(S.detach(), 2 * self.threshold - 1)
        alike = cosine(S.detach().float()) >= self.threshold - ROUNDING
        return Assignment.merge(_follow_leaders(alike))


@dataclass(frozen=True)
class ReleasedFrameMerging(SimilarFrameMerging):
    """What the authors' released code merges in place of what the paper says; see `SimilarFrameMerging`.

    Source: the released code of B-VLLM (arXiv 2412.09919).

    Example:
        >>> S = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])  # the last follows one that is gone
        >>> len(ReleasedFrameMerging().assign(S)), len(SimilarFrameMerging().assign(S))
        (1, 2)
    """

    released: bool = True


def _follow_leaders(alike: Tensor) -> Tensor:
    """For each row the leader it follows: the earliest similar row that is itself a leader."""
    rows = alike.tolist()  # at most L* of them: cheaper here than as a tensor loop on an accelerator
    into = list(range(len(rows)))
    for leader, row in enumerate(rows):
        if into[leader] == leader:
            for later in range(leader + 1, len(rows)):
                if row[later] and into[later] == later:
                    into[later] = leader
    return torch.tensor(into, dtype=torch.long, device=alike.device)


def _one_pass(S: Tensor, threshold: float) -> Assignment:
    """The released code's single pass, losses included."""
    into = match_earlier(S, threshold)
    stays = into == torch.arange(len(S), device=S.device)
    outputs = stays.cumsum(0) - 1
    return Assignment(torch.where(stays[into], outputs[into], DROP), stays.nonzero()[:, 0])


def _check(S: Tensor) -> None:
    if S.ndim != 2 or not len(S):
        raise ValueError(
            f"S must be (queries, frames) of one clip, got shape {tuple(S.shape)}: pass one clip at a time"
        )
