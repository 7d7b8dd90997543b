"""A linear layer whose weight lies as oneDNN's kernels want it, with what follows it done in the same pass.

torch keeps these operators for its compiler (`torch.ops.mkldnn`): they are private, so they are tried once
against plain arithmetic, and where they are missing or wrong the same layer runs as plain torch.
"""

from functools import cache
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

# What may follow the product: nothing, the exact GELU, its tanh form, or x * sigmoid(x).
Activation = Literal["none", "gelu", "gelu_tanh", "silu"]
# (name, algorithm) of each in oneDNN's post-ops.
POST_OPS: dict[Activation, tuple[str, str]] = {
    "none": ("none", ""),
    "gelu": ("gelu", "none"),
    "gelu_tanh": ("gelu", "tanh"),
    "silu": ("swish", ""),
}


class PackedLinear:
    """y = activation(x W^T + b), or y = x W^T + b + residual, each in one pass over y.

    Args:
        weight: (out, in), in the dtype of what will come in.
        bias: (out,) of the same dtype, or None.
        rows: rows that will come in at a time: the weight is laid out for so many, others work as well.
        packed: use oneDNN's private operators; False is plain torch.

    Example:
        >>> layer = PackedLinear(torch.eye(2), torch.ones(2), rows=1, packed=False)
        >>> layer(torch.tensor([[1.0, 2.0]])).tolist()
        [[2.0, 3.0]]
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, rows: int, *, packed: bool) -> None:
        weight = weight.detach().contiguous()
        self._bias = None if bias is None else bias.detach().contiguous()
        self._packed = packed
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight, rows) if packed else weight

    def __call__(self, x: Tensor, activation: Activation = "none") -> Tensor:
        """(..., in) -> (..., out)."""
        if self._packed:
            name, form = POST_OPS[activation]
            return torch.ops.mkldnn._linear_pointwise(x, self._weight, self._bias, name, [], form)
        return _activated(functional.linear(x, self._weight, self._bias), activation)

    def add_to(self, residual: Tensor, x: Tensor) -> Tensor:
        """(..., out) and (..., in) -> (..., out): a new tensor, the residual stays."""
        if self._packed:
            return torch.ops.mkldnn._linear_pointwise.binary(x, residual, self._weight, self._bias, "add")
        return residual + functional.linear(x, self._weight, self._bias)


@cache
def can_pack(dtype: torch.dtype) -> bool:
    """Whether oneDNN's private operators are there and right for this dtype on this machine."""
    generator = torch.Generator().manual_seed(0)
    x, weight, bias, residual = (
        torch.randn(shape, generator=generator).to(dtype) for shape in ((3, 32), (48, 32), (48,), (3, 48))
    )
    close = 1e-4 if dtype == torch.float32 else 5e-2
    try:
        layer = PackedLinear(weight, bias, rows=3, packed=True)
        found = {activation: layer(x, activation) for activation in POST_OPS}
        added = layer.add_to(residual, x)
    except (AttributeError, RuntimeError):  # another torch, or one built without oneDNN
        return False
    plain = functional.linear(x.double(), weight.double(), bias.double())
    pairs = [(found[activation], _activated(plain, activation)) for activation in POST_OPS]
    pairs.append((added, plain + residual.double()))
    return all(torch.allclose(got.double(), want, rtol=close, atol=close) for got, want in pairs)


def _activated(x: Tensor, activation: Activation) -> Tensor:
    if activation == "none":
        return x
    if activation == "silu":
        return functional.silu(x)
    return functional.gelu(x, approximate="tanh" if activation == "gelu_tanh" else "none")
