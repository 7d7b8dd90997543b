"""Group rows of a matrix: around peaks of density, or around means."""

from typing import NamedTuple

import torch
from torch import Generator, Tensor

from bvllm.primitives.matching import unit

NEIGHBOURS = 7
ROWS_AT_A_TIME = 1024  # bounds the memory of a pass over all rows
DRAWN_AT_ONCE = 16
FLOOR = 1e-6  # of the chance to be drawn, so that copies of a centre can be, too


class Clusters(NamedTuple):
    """Groups of K rows.

    Shapes: centre (c,) the row that each group stands on, ascending; label (K,) the group of each row, by its
    place in `centre`.
    """

    centre: Tensor
    label: Tensor


def density_peaks(x: Tensor, count: int, neighbours: int = NEIGHBOURS) -> Clusters:
    """DPC-KNN: dense rows that are far from any denser one are centres; each other row joins the nearest.

    Density is exp(- mean of the squared distances to the nearest rows, itself included), taken as its
    logarithm; a row's other score is its distance to the nearest denser row, or the largest distance of all
    where none is denser. Of equally
    dense rows the earlier counts as denser, where published code adds noise, so that the same rows always
    give the same groups.

    Args:
        x: (K, C); distances are Euclidean, over sqrt(C).
        count: how many groups, 1..K.
        neighbours: rows that make up a density, at most K.

    Raises:
        ValueError: count is outside 1..K.

    Source: DPC-KNN as TCFormer's code has it, which PruneVid, HoliTom and FastVID use.

    Example:
        >>> x = torch.tensor([[0.0], [0.5], [5.0], [5.5], [6.5]])
        >>> [part.tolist() for part in density_peaks(x, 2, neighbours=2)]
        [[0, 2], [0, 0, 1, 1, 1]]
    """
    if not 1 <= count <= len(x):
        raise ValueError(
            f"count must lie in 1..{len(x)}, got {count}: ask for as many groups as there are rows"
        )
    wide = x.detach().float()
    distance = torch.cdist(wide, wide) / x.shape[1] ** 0.5
    distance.fill_diagonal_(0)
    nearest = distance.topk(min(neighbours, len(x)), largest=False).values
    density = -nearest.square().mean(dim=-1)  # its logarithm: far apart, all densities round to 0
    place = density.argsort(descending=True, stable=True).argsort()
    denser = place[None, :] < place[:, None]
    apart = distance.masked_fill(~denser, float(distance.max())).amin(dim=-1)
    centre = (apart.log() + density).argsort(descending=True, stable=True)[:count].sort().values
    label = distance[:, centre].argmin(dim=-1)
    label[centre] = torch.arange(count, device=x.device)
    return Clusters(centre, label)


def spherical_means(x: Tensor, count: int, rounds: int, tolerance: float, generator: Generator) -> Tensor:
    """k-means by cosine from a k-means++ start: the group (K,) of each row, below `count`; some may be empty.

    Means are those of unit vectors; rows of zeros are a group of their own where the start has drawn one.
    Rows are read in parts, and no matrix of all pairs of them exists.

    Args:
        x: (K, C).
        count: how many groups.
        rounds: the most, at least 1.
        tolerance: rounds end where the means together move less.
        generator: of the start, on the CPU.

    Source: the released code of VQToken (`KMeansTorch`): squared distance to the nearest centre as the chance
    to be drawn; an empty group keeps its mean.

    Example:
        >>> x = torch.tensor([[1.0, 0.0], [2.0, 0.1], [0.0, 1.0]])
        >>> label = spherical_means(x, 2, 10, 1e-4, torch.Generator().manual_seed(0)).tolist()
        >>> label[0] == label[1] != label[2]
        True
    """
    means = _spread_out(x, count, generator)
    nothing, empty = ~means.any(dim=-1), ~x.detach().any(dim=-1)
    for _ in range(max(1, rounds)):
        goal, parts = unit(means).mT, torch.split(x.detach(), ROWS_AT_A_TIME)
        label = torch.cat([(part.float() @ goal).argmax(dim=-1) for part in parts])
        if nothing.any():
            label[empty] = int(nothing.nonzero()[0])
        total = torch.zeros_like(means)
        for part, group in zip(parts, torch.split(label, ROWS_AT_A_TIME)):
            total.index_add_(0, group, unit(part))
        members = torch.bincount(label, minlength=count)[:, None]
        new = torch.where(members > 0, total / members.clamp_min(1), means)
        moved, means = float((new - means).norm()), new
        if moved < tolerance:
            break
    return label


def _spread_out(x: Tensor, count: int, generator: Generator) -> Tensor:
    """(count, C) unit rows, each drawn by its squared distance to the nearest drawn before.

    A few are drawn at once, by the chances of before, and each is taken as likely as its chance has fallen by
    then: the same distribution as one by one, in fewer passes over the rows.
    """
    parts = torch.split(x.detach(), ROWS_AT_A_TIME)
    length = torch.cat([part.float().norm(dim=-1) for part in parts])[:, None]
    square, length = (length > 0).float(), length.clamp_min(1e-12)  # of unit rows: 1, or 0
    drawn = torch.randint(len(x), (1,), generator=generator)
    chance = torch.full((len(x),), torch.inf, dtype=torch.float64)
    chosen: list[int] = []
    while True:
        rows = unit(x[drawn.to(x.device)].detach()).mT
        cosine = torch.cat([part.float() @ rows for part in parts]) / length
        squares = square + square[drawn.to(x.device)].mT
        distance = ((squares - 2 * cosine).clamp_min(0) + FLOOR).double().cpu()
        before, luck = chance, torch.rand(len(drawn), generator=generator)
        for row, near, lucky in zip(drawn.tolist(), distance.mT, luck.tolist()):
            if not chosen or lucky * before[row] <= chance[row]:
                chosen.append(row)
                chance = torch.minimum(chance, near)
            if len(chosen) == count:
                return unit(x[torch.tensor(chosen, device=x.device)].detach())
        drawn = torch.multinomial(chance, DRAWN_AT_ONCE, replacement=True, generator=generator)
