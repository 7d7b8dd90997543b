"""Cosine similarity."""

import torch
from torch import Tensor
from torch.nn import functional


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
