"""See the tokens of a clip frame by frame: which belong together, where they lie, how alike they are.

Methods that weigh frames against one another need it. Frames need not hold as many tokens each: a budget
policy or an earlier slot may have left more of some.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from bvllm.primitives.matching import cosine, unit
from bvllm.primitives.pooling import grid_shape
from bvllm.types import Tokens


def frame_slices(tokens: Tokens) -> list[slice]:
    """Where the tokens of each frame stand, in the order of the clip.

    Example:
        >>> frame_slices(Tokens.of(torch.zeros(2, 3, 4), torch.arange(2.0)))
        [slice(0, 3, None), slice(3, 6, None)]
    """
    _, counts = torch.unique_consecutive(tokens.frame, return_counts=True)
    ends = counts.cumsum(0).tolist()
    return [slice(end - count, end) for end, count in zip(ends, counts.tolist())]


def frame_grid(tokens: Tokens, here: slice) -> tuple[int, int]:
    """Rows and columns of one frame's tokens; the shape nearest to a square where they fill no grid.

    Example:
        >>> frame_grid(Tokens.of(torch.zeros(1, 6, 4), torch.zeros(1), columns=2), slice(0, 6))
        (3, 2)
    """
    row, column = tokens.row[here], tokens.column[here]
    rows, columns = int(row.max()) + 1, int(column.max()) + 1
    place = torch.arange(len(row), device=row.device)
    if rows * columns == len(row) and bool((row * columns + column == place).all()):
        return rows, columns
    return grid_shape(len(row))


def likeness(features: Tensor, here: slice, there: slice) -> Tensor:
    """Cosine of each token of one frame with the token in the same place of another: (n,) float32.

    Frames that hold different numbers of tokens have no places in common: there, the most similar token of
    the other frame counts.

    Example:
        >>> x = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 0.0]])
        >>> likeness(x, slice(2, 4), slice(0, 2)).tolist()
        [1.0, 0.0]
    """
    x, y = features[here].detach(), features[there].detach()
    if len(x) == len(y):
        return (unit(x) * unit(y)).sum(dim=-1)
    return cosine(x, y).amax(dim=-1)


def largest_remainders(wanted: Sequence[float], most: Sequence[int], total: int, least: int = 0) -> list[int]:
    """Whole numbers near `wanted` that sum to `total`.

    Each is rounded down first. What is left goes to the largest remainders, the earlier of equals, and what
    one cannot take goes to the others; what is too much is taken from the smallest remainders.

    Args:
        wanted: shares, 0 or more.
        most: the most that each can take.
        total: between `least` of each and all of `most`, else the nearer of these.
        least: the least that each is given.

    Example:
        >>> largest_remainders([1.5, 2.6, 0.9], [9, 9, 9], 5), largest_remainders([5.0, 0.0], [2, 4], 5)
        ([1, 3, 1], [2, 3])
        >>> largest_remainders([3.2, 3.9, 0.1], [4, 4, 4], 5, least=1)
        [2, 2, 1]
    """
    counts = [min(limit, max(least, int(share))) for share, limit in zip(wanted, most)]
    order = sorted(range(len(counts)), key=lambda k: wanted[k] - int(wanted[k]), reverse=True)
    while (left := total - sum(counts)) > 0 and (hungry := [k for k in order if counts[k] < most[k]]):
        for k in hungry[:left]:
            counts[k] += 1
    while (over := sum(counts) - total) > 0 and (full := [k for k in reversed(order) if counts[k] > least]):
        for k in full[:over]:
            counts[k] -= 1
    return counts
