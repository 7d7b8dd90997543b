"""What the families of vision transformers have in common: one pre-norm layer, read out of each.

CLIP, SigLIP, DINOv2 and the ViT-g of BLIP-2 and InstructBLIP differ in names only:

    x <- x + out(attention(qkv(norm1(x))))
    x <- x + fc2(activation(fc1(norm2(x))))

Everything is read in float32, and what scales a product is multiplied into its weights here.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
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

from bvllm.model.packed_linear import Activation

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
    def of(cls, *modules: nn.Module) -> "Affine":
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

    read: Callable[[nn.Module], LayerWeights]
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


def _folded(x: LayerWeights, factor: float) -> LayerWeights:
    fc1, fc2 = x.fc1.times(x.fc1.weight.new_tensor(factor)), x.fc2.of_scaled(1 / factor)
    return LayerWeights(x.norm1, x.qkv, x.out, x.norm2, fc1, fc2)


def _clip(layer: nn.Module) -> LayerWeights:
    attention, mlp = layer.self_attn, layer.mlp
    return LayerWeights(
        norm1=Affine.of(layer.layer_norm1),
        qkv=Affine.of(attention.q_proj, attention.k_proj, attention.v_proj),
        out=Affine.of(attention.out_proj),
        norm2=Affine.of(layer.layer_norm2),
        fc1=Affine.of(mlp.fc1),
        fc2=Affine.of(mlp.fc2),
    )


def _blip(layer: nn.Module) -> LayerWeights:
    return LayerWeights(
        norm1=Affine.of(layer.layer_norm1),
        qkv=Affine.of(layer.self_attn.qkv),
        out=Affine.of(layer.self_attn.projection),
        norm2=Affine.of(layer.layer_norm2),
        fc1=Affine.of(layer.mlp.fc1),
        fc2=Affine.of(layer.mlp.fc2),
    )


def _dino(layer: nn.Module) -> LayerWeights:
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
