"""Read the layers of a vision transformer out of each family, with a linear layer that is fast on a CPU.

CLIP, SigLIP, DINOv2 and the ViT-g of BLIP-2 and InstructBLIP differ in names only:

    x <- x + out(attention(qkv(norm1(x))))
    x <- x + fc2(activation(fc1(norm2(x))))

Everything is read in float32, and what scales a product is multiplied into its weights here.

`PackedLinear` keeps its weight as oneDNN's kernels want it and does what follows the product in the same
pass. torch keeps these operators for its compiler (`torch.ops.mkldnn`): they are private, so they are tried
once against plain arithmetic, and where they are missing or wrong the same layer runs as plain torch.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import (
    Blip2VisionConfig,
    CLIPVisionConfig,
    Dinov2Config,
    Dinov2WithRegistersConfig,
    InstructBlipVisionConfig,
    PreTrainedConfig,
    PreTrainedModel,
    SiglipVisionConfig,
)

# What may follow the product: nothing, the exact GELU, its tanh form, or x * sigmoid(x).
Activation = Literal["none", "gelu", "gelu_tanh", "silu"]
# (name, algorithm) of each in oneDNN's post-ops.
POST_OPS: dict[Activation, tuple[str, str]] = {
    "none": ("none", ""),
    "gelu": ("gelu", "none"),
    "gelu_tanh": ("gelu", "tanh"),
    "silu": ("swish", ""),
}
# The activation, and the factor of its argument. Quick GELU is x sigmoid(1.702 x) = silu(1.702 x) / 1.702:
# the factor goes into fc1, its inverse into fc2.
ACTIVATIONS: dict[str, tuple[Activation, float]] = {
    "gelu": ("gelu", 1.0),
    "gelu_pytorch_tanh": ("gelu_tanh", 1.0),
    "quick_gelu": ("silu", 1.702),
}


@dataclass(frozen=True)
class Affine:
    """Weight (out, in) and bias (out,) of a product, or weight and bias (C,) of a norm; float32."""

    weight: Tensor
    bias: Tensor | None

    @classmethod
    def of(cls, *modules: nn.Linear | nn.LayerNorm) -> "Affine":
        """One product in place of several that read the same."""
        weight = torch.cat([m.weight.detach().float() for m in modules])
        if any(m.bias is None for m in modules):
            return cls(weight, None)
        return cls(weight, torch.cat([m.bias.detach().float() for m in modules]))

    def times(self, scale: Tensor) -> "Affine":
        """What comes out, times (out,) or one number."""
        column = scale.view(-1, 1)
        return Affine(self.weight * column, None if self.bias is None else self.bias * scale)

    def of_scaled(self, scale: float) -> "Affine":
        """The same of an input that is `1 / scale` times as large."""
        return Affine(self.weight * scale, self.bias)


@dataclass(frozen=True)
class LayerWeights:
    """One layer."""

    norm1: Affine
    qkv: Affine
    out: Affine
    norm2: Affine
    fc1: Affine
    fc2: Affine


@dataclass(frozen=True)
class Family:
    """Where a family keeps its parts, as names of submodules.

    Attributes:
        read: takes the weights out of one layer.
        layers: all layers.
        patches: the convolution that cuts a picture into patches.
        last: the norm after the last layer.
        first: the norm before the first one, if any.
    """

    read: Callable[[Any], LayerWeights]
    layers: str = "encoder.layers"
    patches: str = "embeddings.patch_embedding"
    last: str = "post_layernorm"
    first: str | None = None


def is_covered(config: PreTrainedConfig) -> bool:
    """Whether a tower has that common form; DINOv2's gated layers and odd activations have not."""
    if type(config) not in FAMILIES or config.hidden_act not in ACTIVATIONS:
        return False
    if isinstance(config, Dinov2Config | Dinov2WithRegistersConfig):
        return not config.use_swiglu_ffn
    return not isinstance(config, SiglipVisionConfig) or config.vision_use_head


def read_layers(tower: PreTrainedModel) -> Iterator[LayerWeights]:
    """The weights of each layer of a tower that `is_covered`, the activation's factor multiplied in.

    One after another: in float32 all of them at once would be twice the tower again.
    """
    family = FAMILIES[type(tower.config)]
    factor = ACTIVATIONS[tower.config.hidden_act][1]
    for layer in tower.get_submodule(family.layers):
        yield _folded(family.read(layer), factor)


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


def _folded(x: LayerWeights, factor: float) -> LayerWeights:
    fc1, fc2 = x.fc1.times(x.fc1.weight.new_tensor(factor)), x.fc2.of_scaled(1 / factor)
    return LayerWeights(x.norm1, x.qkv, x.out, x.norm2, fc1, fc2)


def _clip(layer: Any) -> LayerWeights:
    attention, mlp = layer.self_attn, layer.mlp
    return LayerWeights(
        norm1=Affine.of(layer.layer_norm1),
        qkv=Affine.of(attention.q_proj, attention.k_proj, attention.v_proj),
        out=Affine.of(attention.out_proj),
        norm2=Affine.of(layer.layer_norm2),
        fc1=Affine.of(mlp.fc1),
        fc2=Affine.of(mlp.fc2),
    )


def _blip(layer: Any) -> LayerWeights:
    return LayerWeights(
        norm1=Affine.of(layer.layer_norm1),
        qkv=Affine.of(layer.self_attn.qkv),
        out=Affine.of(layer.self_attn.projection),
        norm2=Affine.of(layer.layer_norm2),
        fc1=Affine.of(layer.mlp.fc1),
        fc2=Affine.of(layer.mlp.fc2),
    )


def _dino(layer: Any) -> LayerWeights:
    attention, mlp = layer.attention, layer.mlp
    return LayerWeights(
        norm1=Affine.of(layer.norm1),
        qkv=Affine.of(attention.q_proj, attention.k_proj, attention.v_proj),
        out=Affine.of(attention.o_proj).times(layer.layer_scale1.lambda1.detach().float()),
        norm2=Affine.of(layer.norm2),
        fc1=Affine.of(mlp.fc1),
        fc2=Affine.of(mlp.fc2).times(layer.layer_scale2.lambda1.detach().float()),
    )


_DINO = Family(_dino, "encoder.layer", "embeddings.patch_embeddings.projection", last="layernorm")
FAMILIES: dict[type[PreTrainedConfig], Family] = {
    CLIPVisionConfig: Family(_clip, first="pre_layrnorm"),
    SiglipVisionConfig: Family(_clip),
    Dinov2Config: _DINO,
    Dinov2WithRegistersConfig: _DINO,
    InstructBlipVisionConfig: Family(_blip),
    Blip2VisionConfig: Family(_blip),
}
