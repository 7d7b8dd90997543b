"""Pooling as a matrix agrees with torch's pooling."""

import pytest
import torch
from torch.nn import functional

from bvllm.primitives.pooling import grid_pooling_weights, grid_shape, pooling_weights


@pytest.mark.parametrize("size, keep", [(1, 1), (8, 3), (7, 7), (5, 2), (3, 5)])
def test_a_line_as_torch_pools_it(size, keep):
    x = torch.randn(2, size)
    torch.testing.assert_close(x @ pooling_weights(size, keep).T, functional.adaptive_avg_pool1d(x, keep))


@pytest.mark.parametrize("side, keep", [(8, 32), (4, 4), (5, 6), (6, 1)])
def test_a_grid_as_torch_pools_it(side, keep):
    x = torch.randn(3, side, side)
    ours = x.flatten(1) @ grid_pooling_weights(side * side, keep).T
    torch.testing.assert_close(ours, functional.adaptive_avg_pool2d(x, grid_shape(keep)).flatten(1))


@pytest.mark.parametrize("cells", range(1, 40))
def test_grids_hold_exactly_the_cells(cells):
    rows, columns = grid_shape(cells)
    assert rows * columns == cells
    assert rows <= columns


@pytest.mark.parametrize("pool", [pooling_weights, grid_pooling_weights])
def test_messages(pool):
    with pytest.raises(ValueError, match="must be at least 1, got 4 and 0"):
        pool(4, 0)
    with pytest.raises(ValueError, match="must be at least 1, got 0 and 4"):
        pool(0, 4)
