"""Pair what a model gives with what is wanted of it, where no order is given."""

import numpy as np
from numpy.typing import NDArray

FIRST = 1e6  # by how much the first columns are cheaper


def pair(cost: NDArray[np.float32], first: int = 0) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pair rows with columns: the cheapest pair, then the cheapest of what is left, and so on.

    Greedy: the best assignment of all needs a solver (scipy's), which nothing else here depends on.

    Args:
        cost: (rows, columns).
        first: how many columns are paired before all others.

    Returns:
        rows and columns of the min(rows, columns) pairs.
    """
    left = cost.astype(np.float64)
    left[:, :first] -= FIRST
    rows, columns = [], []
    for _ in range(min(left.shape)):
        row, column = np.unravel_index(left.argmin(), left.shape)
        rows.append(row)
        columns.append(column)
        left[row, :], left[:, column] = np.inf, np.inf
    return np.array(rows, np.int64), np.array(columns, np.int64)
