"""Write average pooling as a matrix, so that what was pooled where can be shown."""

import math

import torch
from torch import Tensor


def pooling_weights(size: int, keep: int, device: torch.device | None = None) -> Tensor:
    """Adaptive average pooling of a line of `size` cells to `keep` cells, as a matrix.

    Cell k averages the inputs from floor(k size / keep) up to ceil((k + 1) size / keep).

    Returns:
        (keep, size) rows that sum to 1.

    Example:
        >>> pooling_weights(3, 2).tolist()
        [[0.5, 0.5, 0.0], [0.0, 0.5, 0.5]]
    """
    if min(size, keep) < 1:
        raise ValueError(
            f"size and keep must be at least 1, got {size} and {keep}: pool something to something"
        )
    k, cell = torch.arange(keep, device=device)[:, None], torch.arange(size, device=device)
    inside = (cell >= k * size // keep) & (cell < -(-(k + 1) * size // keep))
    return inside / inside.sum(dim=-1, keepdim=True)


def grid_shape(cells: int) -> tuple[int, int]:
    """The (rows, columns) nearest to a square that hold exactly `cells`; never more rows than columns.

    Example:
        >>> grid_shape(64), grid_shape(32), grid_shape(7)
        ((8, 8), (4, 8), (1, 7))
    """
    rows = next(r for r in range(math.isqrt(cells), 0, -1) if cells % r == 0)
    return rows, cells // rows


def square(patches: int) -> int:
    """Width of a grid of patches where none is given: a square's, or all of them where they are no square.

    Example:
        >>> square(16), square(10)
        (4, 10)
    """
    side = math.isqrt(patches)
    return side if side * side == patches else patches


def grid_pooling_weights(
    cells: int, keep: int, device: torch.device | None = None, *, columns: int | None = None
) -> Tensor:
    """Adaptive average pooling of a grid of patches to a smaller grid, as a matrix.

    Args:
        cells: patches of the grid.
        keep: cells of the smaller one, which lies as the grid does: upright where that has more rows.
        device: of the matrix.
        columns: patches in a row of the grid; None takes the shape nearest to a square.

    Returns:
        (keep, cells) rows that sum to 1; grids are read row by row.

    Example:
        >>> grid_pooling_weights(4, 1).tolist()
        [[0.25, 0.25, 0.25, 0.25]]
    """
    if min(cells, keep) < 1:
        raise ValueError(
            f"cells and keep must be at least 1, got {cells} and {keep}: pool something to something"
        )
    across = grid_shape(cells)[1] if columns is None else columns
    if across < 1 or cells % across:
        raise ValueError(
            f"columns must divide the {cells} patches of a frame, got {columns}: pass the grid's width"
        )
    down, (few, many) = cells // across, grid_shape(keep)
    keep_rows, keep_columns = (many, few) if down > across else (few, many)
    return torch.kron(pooling_weights(down, keep_rows, device), pooling_weights(across, keep_columns, device))
