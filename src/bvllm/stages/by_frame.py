"""See the tokens of a clip frame by frame: which belong together, where they lie, how alike they are.

Methods that weigh frames against one another need it. Frames need not hold as many tokens each: a budget
policy or an earlier slot may have left more of some.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from bvllm.primitives.matching import cosine, unit
from bvllm.primitives.pooling import grid_pooling_weights, grid_shape, pooling_weights
from bvllm.primitives.reduction import Reduction
from bvllm.stages.frame_grids import Grid
from bvllm.types import Tokens


def frame_slices(tokens: Tokens) -> list[slice]:
    """Where the tokens of each frame stand, in the order of the clip.

    Example:
        >>> frame_slices(Tokens.of(torch.zeros(2, 3, 4), torch.arange(2.0)))
        [slice(0, 3, None), slice(3, 6, None)]
    """
    _, counts = tokens.by_frame()
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


def partners(features: Tensor, here: slice, there: slice) -> tuple[Tensor, Tensor]:
    """What each token of one frame is compared with in another: the token in the same place.

    Frames that hold different numbers of tokens have no places in common: there, it is the most similar one.

    Returns:
        (n,) cosine with it in float32, and (n,) its index in the clip.

    Example:
        >>> x = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 0.0]])
        >>> [part.tolist() for part in partners(x, slice(2, 4), slice(0, 2))]
        [[1.0, 0.0], [0, 1]]
    """
    x, y = features[here].detach(), features[there].detach()
    if len(x) == len(y):
        alike = (unit(x) * unit(y)).sum(dim=-1)
        return alike, torch.arange(there.start, there.stop, device=x.device)
    alike, index = cosine(x, y).max(dim=-1)
    return alike, there.start + index


def likeness(features: Tensor, here: slice, there: slice) -> Tensor:
    """(n,) how alike each token of one frame and its partner in another are; see `partners`."""
    return partners(features, here, there)[0]


def frame_means(tokens: Tokens, places: Sequence[slice]) -> Tensor:
    """(F, C) float32 the mean token of each frame."""
    x = tokens.features.detach()
    return torch.stack([x[place].mean(dim=0, dtype=torch.float32) for place in places])


def pooled(tokens: Tokens, here: slice, keep: int) -> Tensor:
    """Weights (keep, n) that pool one frame's grid to the grid nearest to a square of `keep` cells."""
    count = here.stop - here.start
    return grid_pooling_weights(count, keep, tokens.features.device, columns=frame_grid(tokens, here)[1])


def pooled_to(tokens: Tokens, here: slice, grid: Grid) -> Tensor:
    """Weights (cells, n) that pool one frame's grid to a grid of so many rows and columns, by means."""
    rows, columns = frame_grid(tokens, here)
    device = tokens.features.device
    return torch.kron(
        pooling_weights(rows, grid.rows, device), pooling_weights(columns, grid.columns, device)
    )


def stacked(parts: Sequence[tuple[Tensor, Tensor]], inputs: int) -> Reduction:
    """Outputs one after another: each part is (r, n) weights, and the (n,) inputs that they weigh.

    Example:
        >>> parts = [(torch.eye(2), torch.tensor([0, 3])), (torch.ones(1, 1), torch.tensor([2]))]
        >>> stacked(parts, 4).input.tolist()
        [0, 3, 2]
    """
    output, input, weight, count = [], [], [], 0
    for weights, index in parts:
        row, column = weights.nonzero(as_tuple=True)
        output.append(row + count)
        input.append(index[column])
        weight.append(weights[row, column].float())
        count += len(weights)
    return Reduction.of(torch.cat(output), torch.cat(input), torch.cat(weight), count, inputs)


def largest_remainders(wanted: Sequence[float], most: Sequence[int], total: int, least: int = 0) -> list[int]:
    """Whole numbers near `wanted` that sum to `total`.

    Each is rounded down first, and raised to `least`. What is left goes to those that lack most of what they
    want, the earlier of equals, and what one cannot take goes to the others; what is too much is taken from
    those that lack least.

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
        >>> largest_remainders([1.6, 0.8], [4, 4], 3, least=1)
        [2, 1]
    """
    counts = [min(limit, max(least, int(share))) for share, limit in zip(wanted, most)]
    order = sorted(range(len(counts)), key=lambda k: wanted[k] - counts[k], reverse=True)
    while (left := total - sum(counts)) > 0 and (hungry := [k for k in order if counts[k] < most[k]]):
        for k in hungry[:left]:
            counts[k] += 1
    while (over := sum(counts) - total) > 0 and (full := [k for k in reversed(order) if counts[k] > least]):
        for k in full[:over]:
            counts[k] -= 1
    return counts
