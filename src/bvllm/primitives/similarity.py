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
    x = _unit(x)
    return x @ (x if y is None else _unit(y)).mT


def _unit(x: Tensor) -> Tensor:
    return functional.normalize(x.to(torch.promote_types(x.dtype, torch.float32)), dim=-1)
