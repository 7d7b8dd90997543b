"""Match rows of a matrix by cosine: to an earlier row, across two halves, or farthest first."""

import torch
from torch import Tensor
from torch.nn import functional

MOST_SCORES = 1 << 24  # 64 MB in float32: scores that merging computes together
MOST_DISTANCES = 1 << 22  # 16 MB in float32: distances that an all-pairs search computes together
ROWS_AT_A_TIME = 512  # bounds the memory of an all-pairs search; K x K numbers never exist at once


def cosine(x: Tensor, y: Tensor | None = None) -> Tensor:
    """Plain cosine of every row of `x` with every row of `y` (or of `x` itself).

    Computed in float32 at least, whatever comes in. A row of zeros is like nothing: its cosines are 0.

    Args:
        x: (..., K, C) vectors.
        y: (..., J, C) vectors; None compares `x` with itself.

    Returns:
        (..., K, J) in [-1, 1].

    Example:
        >>> cosine(torch.tensor([[1.0, 0.0], [0.0, 2.0], [-3.0, 0.0]])).tolist()
        [[1.0, 0.0, -1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 1.0]]
    """
    x = unit(x)
    return x @ (x if y is None else unit(y)).mT


def unit(x: Tensor) -> Tensor:
    """Every row (..., C) at length 1, in float32 at least; a row of zeros stays one.

    Example:
        >>> unit(torch.tensor([[3.0, 4.0], [0.0, 0.0]])).tolist()
        [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    return functional.normalize(x.to(torch.promote_types(x.dtype, torch.float32)), dim=-1)


def unit_in_parts(x: Tensor) -> Tensor:
    """`unit` of (K, C), some rows at a time: nothing of its size exists beside the result.

    Example:
        >>> unit_in_parts(torch.tensor([[3.0, 4.0]])).tolist()
        [[0.6000000238418579, 0.800000011920929]]
    """
    if len(x) <= ROWS_AT_A_TIME:
        return unit(x)
    rows = x.new_empty(x.shape, dtype=torch.promote_types(x.dtype, torch.float32))
    for part, whole in zip(torch.split(rows, ROWS_AT_A_TIME), torch.split(x, ROWS_AT_A_TIME)):
        part.copy_(unit(whole))
    return rows


def match_earlier(x: Tensor, threshold: float) -> Tensor:
    """For each row, its most similar earlier row, if similar enough.

    Rows are frames oldest first, so a duplicate folds into the frame seen before it and time
    never runs backwards. The first row has nothing before it and always stays.

    Args:
        x: (T, C) one vector per frame.
        threshold: cosine in [-1, 1] that a pair must exceed to count as the same.

    Returns:
        (T,) index of the earlier row, or the row's own index where none is close enough.

    Source: the released code of B-VLLM (arXiv 2412.09919), Sec. 3.3.

    Example:
        >>> match_earlier(torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]]), threshold=0.9).tolist()
        [0, 0, 2]
    """
    later = torch.ones(len(x), len(x), dtype=torch.bool, device=x.device).triu()
    best, index = cosine(x).masked_fill(later, -torch.inf).max(dim=-1)
    return torch.where(best > threshold, index, torch.arange(len(x), device=x.device))


def match_bipartite(x: Tensor, pairs: int) -> Tensor:
    """Deal rows alternately into two sets and join the `pairs` most similar couples across.

    Every even row finds its best odd row; the `pairs` even rows that found the closest one join it.
    Ties go to the earlier row, so the same rows always give the same matching.

    Args:
        x: (K, C) one vector per token.
        pairs: how many even rows join an odd one, at most K // 2.

    Returns:
        (K,) the row each row joins, or its own index where it stays.

    Raises:
        ValueError: `pairs` is outside 0..K // 2.

    Source: ToMe (arXiv 2210.09461), Sec. 3, "Bipartite Soft Matching".

    Example:
        >>> x = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.1, 1.0], [1.0, 0.5]])
        >>> match_bipartite(x, pairs=1).tolist()
        [0, 1, 1, 3]
    """
    source, goal = closest_pairs(x, pairs)
    return torch.arange(len(x), device=x.device).index_put((source,), goal)


def closest_pairs(x: Tensor, pairs: int) -> tuple[Tensor, Tensor]:
    """The couples of `match_bipartite`, closest first: (pairs,) even rows, and the odd row each one joins.

    Raises:
        ValueError: `pairs` is outside 0..K // 2.

    Example:
        >>> closest_pairs(torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.1, 1.0], [1.0, 0.5]]), pairs=1)
        (tensor([2]), tensor([1]))
    """
    if not 0 <= pairs <= len(x) // 2:
        raise ValueError(
            f"pairs must lie in 0..{len(x) // 2} for {len(x)} rows, got {pairs}: take another round"
        )
    if not pairs:
        nothing = torch.arange(0, device=x.device)
        return nothing, nothing
    x = x.detach()
    even, odd = x[::2], unit_in_parts(x[1::2])
    # In one product while that is small: another cut would move last bits, and merging follows them.
    step = len(even) if len(even) * len(odd) <= MOST_SCORES else max(1, MOST_SCORES // len(odd))
    found = [(unit(part) @ odd.mT).max(dim=-1) for part in torch.split(even, step)]
    best, match = (torch.cat(column) for column in zip(*found))
    closest = best.argsort(descending=True, stable=True)[:pairs]
    return 2 * closest, 2 * match[closest] + 1


def farthest_first(x: Tensor, keep: int) -> Tensor:
    """Greedy max-min selection: `keep` rows, each as far as can be from those chosen before it.

    The first is the row whose nearest neighbour is farthest away. Distance is 1 - cosine; rows of zeros are
    equal to each other, and as far from all others as orthogonal ones. Each row's distance to those chosen is
    kept up to date by one product a choice.

    Args:
        x: (K, C) one vector per token.
        keep: how many rows to choose, 1..K.

    Returns:
        (keep,) indices in the order in which they were chosen.

    Source: DivPrune (arXiv 2503.02175), Sec. 3.3.

    Example:
        >>> farthest_first(torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]]), keep=2).tolist()
        [2, 0]
    """
    if not 1 <= keep <= len(x):
        raise ValueError(f"keep must lie in 1..{len(x)}, got {keep}: choose among the rows that are there")
    with torch.no_grad():
        rows = unit_in_parts(x)
        empty = ~rows.any(dim=-1)
        first = _nearest_distances(rows)
        if int(empty.sum()) > 1:
            first[empty] = 0
        chosen = [int(first.argmax())]
        nearest = distances_to(rows, chosen[0], empty)
        for _ in range(keep - 1):
            nearest[chosen[-1]] = -torch.inf
            chosen.append(int(nearest.argmax()))
            torch.minimum(nearest, distances_to(rows, chosen[-1], empty), out=nearest)
    return torch.tensor(chosen, device=x.device)


def distances_to(rows: Tensor, chosen: int, empty: Tensor) -> Tensor:
    """From each of (K, C) unit rows to one of them: (K,); `empty` (K,) are those of zeros, which are alike.

    Example:
        >>> rows = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
        >>> empty = torch.tensor([False, True, True])
        >>> distances_to(rows, 0, empty).tolist(), distances_to(rows, 1, empty).tolist()
        ([0.0, 1.0, 1.0], [1.0, 0.0, 0.0])
    """
    distance = 1 - rows @ rows[chosen]
    return distance.masked_fill(empty, 0) if empty[chosen] else distance


def _nearest_distances(rows: Tensor) -> Tensor:
    """For each of (K, C) unit rows the distance to the nearest other one: (K,), some rows at a time."""
    found, step = [], min(ROWS_AT_A_TIME, max(1, MOST_DISTANCES // len(rows)))
    for start in range(0, len(rows), step):
        distance = (rows[start : start + step] @ rows.mT).neg_().add_(1)
        distance.diagonal(start).fill_(torch.inf)
        found.append(distance.amin(dim=-1))
    return torch.cat(found)
