"""Serve rows of unit length to a vector library, a few megabytes at a time."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bvllm.common.threads import one_kernel_thread
from bvllm.index.search.scores import BLOCK

# Frames that a library learns its codes from: thousands for each of the few values that a code has.
SAMPLE = 65_536


def sample_of(features: Sequence[Tensor], most: int = SAMPLE) -> NDArray[np.float32]:
    """At most about `most` rows of several (T_i, C), evenly spread over all of them.

    Example:
        >>> sample_of([torch.ones(3, 1), torch.ones(3, 1)], most=3).shape
        (3, 1)
    """
    step = -(-sum(map(len, features)) // most) or 1
    found, start = [], 0
    for matrix in features:
        found.append(_units(matrix[-start % step :: step]))
        start += len(matrix)
    return np.concatenate(found)


def unit_blocks(features: Sequence[Tensor]) -> Iterator[NDArray[np.float32]]:
    """All rows in order, each block within one of the (T_i, C)."""
    for matrix in features:
        for begin in range(0, len(matrix), BLOCK):
            yield _units(matrix[begin : begin + BLOCK])


def _units(rows: Tensor) -> NDArray[np.float32]:
    with one_kernel_thread():
        return torch.nn.functional.normalize(rows.detach().float(), dim=1).numpy()
