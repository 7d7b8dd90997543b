"""Describe the supported vision towers, one record each: what is [CLS], where the patches begin."""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn
from transformers import (
    Blip2VisionConfig,
    Blip2VisionModel,
    CLIPVisionConfig,
    CLIPVisionModel,
    Dinov2Config,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    InstructBlipVisionConfig,
    InstructBlipVisionModel,
    PreTrainedConfig,
    PreTrainedModel,
    SiglipVisionConfig,
    SiglipVisionModel,
)
from transformers.modeling_outputs import BaseModelOutputWithPooling

Triple = tuple[float, float, float]
# The hidden state that gives the patches: its number, or "final", what comes out of the tower.
Layer = int | str
FINAL = "final"
CLIP_MEAN: Triple = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD: Triple = (0.26862954, 0.26130258, 0.27577711)
IMAGENET_MEAN: Triple = (0.485, 0.456, 0.406)
IMAGENET_STD: Triple = (0.229, 0.224, 0.225)
HALF: Triple = (0.5, 0.5, 0.5)


@dataclass(frozen=True)
class Tower:
    """How to read one family of vision transformers.

    Attributes:
        model: the class.
        frame: what stands for a whole frame: the pooled output, or the first token after the last LayerNorm.
        mean, std: of the pixels the family was trained on; RGB in [0, 1].
        classes: [CLS] tokens before the patches.
        registers: whether the configuration's register tokens follow them.
    """

    model: type[PreTrainedModel]
    frame: Literal["pooled", "first"]
    mean: Triple
    std: Triple
    classes: int = 1
    registers: bool = False

    @property
    def normalises_patches(self) -> bool:
        """Whether the last LayerNorm is for all tokens; CLIP's is for its pooled output alone."""
        return self.frame == "first" or not self.classes

    def prefix(self, config: PreTrainedConfig) -> int:
        """How many tokens come before the patches."""
        return self.classes + (config.num_register_tokens if self.registers else 0)


# CLIP normalises [CLS] in its pooled output only. The ViT-g of BLIP-2 and InstructBLIP normalises its pooled
# output twice, so there the first token is the one that its Q-Former was trained on. SigLIP has no [CLS]; its
# attention head stands in for it.
TOWERS: dict[type[PreTrainedConfig], Tower] = {
    CLIPVisionConfig: Tower(CLIPVisionModel, "pooled", CLIP_MEAN, CLIP_STD),
    SiglipVisionConfig: Tower(SiglipVisionModel, "pooled", HALF, HALF, classes=0),
    Dinov2Config: Tower(Dinov2Model, "first", IMAGENET_MEAN, IMAGENET_STD),
    Dinov2WithRegistersConfig: Tower(
        Dinov2WithRegistersModel, "first", IMAGENET_MEAN, IMAGENET_STD, registers=True
    ),
    InstructBlipVisionConfig: Tower(InstructBlipVisionModel, "first", CLIP_MEAN, CLIP_STD),
    Blip2VisionConfig: Tower(Blip2VisionModel, "first", CLIP_MEAN, CLIP_STD),
}


def tower_of(config: PreTrainedConfig) -> Tower:
    """The record of a vision configuration.

    Raises:
        ValueError: the family is not in the table.
    """
    if type(config) not in TOWERS:
        known = ", ".join(sorted(entry.model_type for entry in TOWERS))
        raise ValueError(
            f"vision_config must be one of {known}, got {config.model_type!r}: use such a tower, "
            "or add its record to bvllm/model/vision_tower.py"
        )
    return TOWERS[type(config)]


def frame_size(config: PreTrainedConfig) -> tuple[int, int]:
    """(height, width) in pixels of what the tower looks at."""
    return _pair(config.image_size)


def hidden_size(config: object) -> int:
    """Width of a sub-model, from its configuration once that is built: not a dictionary, not None."""
    if not isinstance(config, PreTrainedConfig):
        raise TypeError(f"config must be a built configuration, got {type(config).__name__}: use BVLLMConfig")
    return int(config.hidden_size)


def config_of(tower: nn.Module) -> PreTrainedConfig:
    """The configuration that a transformers model carries."""
    config = tower.config
    if not isinstance(config, PreTrainedConfig):
        raise TypeError(f"tower must be a transformers model, got {type(tower).__name__}: use one")
    return config


def patch_count(config: PreTrainedConfig) -> int:
    """N, patches per frame."""
    (height, width), (rows, columns) = _pair(config.image_size), _pair(config.patch_size)
    return (height // rows) * (width // columns)


def patch_columns(config: PreTrainedConfig) -> int:
    """Patches in a row of the grid."""
    return _pair(config.image_size)[1] // _pair(config.patch_size)[1]


def frame_features(tower: PreTrainedModel, pixels: Tensor) -> Tensor:
    """(t, 3, H, W) -> (t, C): what stands for each frame."""
    return _frame(tower, tower(pixel_values=pixels))


def patch_features(
    tower: PreTrainedModel, pixels: Tensor, layer: Layer, *, keep_prefix: bool = False
) -> Tensor:
    """(t, 3, H, W) -> (t, N, C): the patches as they leave `layer`; [CLS] and registers cut off, or kept."""
    states = _states(tower(pixel_values=pixels, output_hidden_states=layer != FINAL), layer)
    return states if keep_prefix else states[:, tower_of(tower.config).prefix(tower.config) :]


def frame_and_patch_features(tower: PreTrainedModel, pixels: Tensor, layer: Layer) -> tuple[Tensor, Tensor]:
    """Both of the above from one pass: (t, 3, H, W) -> (t, C) and (t, N, C)."""
    output = tower(pixel_values=pixels, output_hidden_states=layer != FINAL)
    prefix = tower_of(tower.config).prefix(tower.config)
    return _frame(tower, output), _states(output, layer)[:, prefix:]


def _states(output: BaseModelOutputWithPooling, layer: Layer) -> Tensor:
    if layer == FINAL:
        return output.last_hidden_state
    # All of them: to ask for one layer by its number means another layer in other releases of transformers.
    return output.hidden_states[layer]


def _frame(tower: PreTrainedModel, output: BaseModelOutputWithPooling) -> Tensor:
    if tower_of(tower.config).frame == "pooled":
        return output.pooler_output
    return output.last_hidden_state[:, 0]


def _pair(size: int | list[int] | tuple[int, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (size[0], size[1])
