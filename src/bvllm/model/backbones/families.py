"""Describe the families of video models that can be reduced: one record each, one shared way to use them.

transformers 5 takes visual tokens that were made before (`mm_encoder_outputs`), and asks only that a prompt
has as many placeholders. So a family is encoded by its own method, reduced, and called with a shorter prompt;
nothing of it is patched.
"""

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.utils import ModelOutput

Modality = Literal["video", "image"]
# Where a tower takes any size, frames have so many tokens each way: 448 x 448 pixels for Qwen2.5-VL.
TOKENS_ACROSS = 16
MERGED = 2  # patches each way that become one token there
TIMM = "timm_wrapper"  # `model_type` of a tower that timm makes


@dataclass(frozen=True)
class Family:
    """How one family makes visual tokens, and how its language model takes them.

    Attributes:
        title: as its makers write it.
        modality: under which name its tokens are passed on; its placeholder is `<modality>_token_id`.
        method: of the base model, which encodes frames.
        pixels: what that method calls the pixels.
        pictures: whether it knows no videos: frames are then pictures, one after another.
        flat: whether that method takes frames without a dimension for clips.
        listed: whether tokens are passed as a list of one tensor a clip, or as one tensor.
        pairs: whether two frames make one temporal patch; a chosen frame then fills one alone, repeated.
        tail: tokens behind the last frame that are of no frame.
        rotary_3d: whether positions have time, height and width (M-RoPE).
        seconds_per_position: temporal positions are multiples of so many seconds; 0 takes
            `vision_config.tokens_per_second`, and None leaves positions as the family has them.
        writes_time: whether its processor writes the frames' times into the prompt.
        any_size: whether its tower takes frames of any size.
        deep: whether some layers of the language model are given tokens of their own ("deepstack").
        inner: whether visual tokens can go inside its language model (`prune_layers`), if its decoder is one
            of `bvllm.model.backbones.pruning.decoders.DECODERS`.
        settings: what its processor must be told so that it writes a placeholder for every token.
        tested: the release with which it was tested.
    """

    title: str
    modality: Modality = "video"
    method: str = "get_video_features"
    pixels: str = "pixel_values_videos"
    pictures: bool = False
    flat: bool = False
    listed: bool = False
    pairs: bool = False
    tail: int = 0
    rotary_3d: bool = False
    seconds_per_position: float | None = None
    writes_time: bool = False
    any_size: bool = False
    deep: bool = False
    inner: bool = True
    settings: tuple[tuple[str, bool], ...] = ()
    tested: str = "transformers 5.23"

    def passed(self, features: Tensor, width: int, *, listed: bool | None = None) -> "DeepOutput":
        """Tokens of one clip, (K, D + ...), as `mm_encoder_outputs` takes them.

        Args:
            width: D; what follows on the channels belongs to single layers.
            listed: as the attribute, where pictures differ from videos.
        """
        own, *deeper = features.split(width, dim=-1)
        output = DeepOutput(pooler_output=[own] if (self.listed if listed is None else listed) else own[None])
        if self.deep:
            output.deepstack_features = [[part] for part in deeper]
        return output

    def together(self, outputs: "Sequence[DeepOutput]") -> "DeepOutput":
        """What `passed` gave for several clips of one kind, as it is taken for all of them."""
        parts: list[Tensor] = []
        for output in outputs:
            assert output.pooler_output is not None  # `passed` fills it
            parts += list(output.pooler_output)
        listed = isinstance(outputs[0].pooler_output, list)
        made = DeepOutput(pooler_output=parts if listed else torch.cat(parts)[None])
        if self.deep:
            layers = zip(*(output.deepstack_features or [] for output in outputs))
            made.deepstack_features = [[part for layer in same for part in layer] for same in layers]
        return made


@dataclass
class DeepOutput(ModelOutput):
    """Tokens that were made before: for the language model's input, and for single layers of it."""

    pooler_output: list[Tensor] | Tensor | None = None
    deepstack_features: list[list[Tensor]] | None = None


# By `model_type` of config.json.
FAMILIES: dict[str, Family] = {
    "llava_onevision": Family("LLaVA-OneVision", tail=1),
    "llava_next_video": Family("LLaVA-NeXT-Video", listed=True),
    "video_llava": Family("Video-LLaVA"),
    "internvl": Family(
        "InternVL", modality="image", method="get_image_features", pixels="pixel_values", flat=True
    ),
    "smolvlm": Family(
        "SmolVLM2",
        modality="image",
        method="get_image_features",
        pixels="pixel_values",
        listed=True,
        writes_time=True,
    ),
    "gemma3": Family(
        "Gemma 3",
        modality="image",
        method="get_image_features",
        pixels="pixel_values",
        pictures=True,
        inner=False,
    ),
    "video_llama_3": Family(
        "VideoLLaMA3",
        listed=True,
        writes_time=True,
        any_size=True,
        settings=(("use_token_compression", False),),
    ),
    "perception_lm": Family("PerceptionLM", method="get_image_features", pixels="pixel_values"),
    "qwen2_vl": Family(
        "Qwen2-VL", listed=True, pairs=True, rotary_3d=True, seconds_per_position=1.0, any_size=True
    ),
    "qwen2_5_vl": Family(
        "Qwen2.5-VL", listed=True, pairs=True, rotary_3d=True, seconds_per_position=0.0, any_size=True
    ),
    "qwen3_vl": Family(
        "Qwen3-VL", listed=True, pairs=True, rotary_3d=True, writes_time=True, any_size=True, deep=True
    ),
}


def family_of(config: PreTrainedConfig) -> Family:
    """The record of a model's family.

    Raises:
        ValueError: it has none; the nearest is suggested.
    """
    kind = str(config.model_type)
    if kind not in FAMILIES:
        near = difflib.get_close_matches(kind, FAMILIES, n=1)
        raise ValueError(
            f"model must be of a family that can be reduced ({', '.join(FAMILIES)}), got {kind!r}: "
            + (f"did you mean {near[0]!r}?" if near else "see docs/hugging-face.md")
        )
    return FAMILIES[kind]


def usual_frame_size(config: PreTrainedConfig) -> tuple[int, int]:
    """(height, width) in which frames are kept for a model: its tower's, or as much as gives 256 tokens."""
    if family_of(config).any_size:
        side = TOKENS_ACROSS * MERGED * int(config.vision_config.patch_size)
        return side, side
    if config.vision_config.model_type == TIMM:
        side = _timm_frame(config.vision_config)[0]
        return side, side
    size = config.vision_config.image_size
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))


def tokens_per_frame(config: PreTrainedConfig, frame_size: tuple[int, int] | None = None) -> int:
    """N, what a frame becomes, counted from the configuration.

    Args:
        frame_size: (height, width); the usual size where None. It matters where a tower takes any.

    Raises:
        ValueError: the family has no record.
    """
    family = family_of(config)
    if config.model_type in PER_FRAME:
        return PER_FRAME[config.model_type](config)
    if frame_size is None or not family.any_size:
        return TOKENS_ACROSS**2  # the usual size was chosen so
    usual_height, usual_width = usual_frame_size(config)
    return max(1, round(TOKENS_ACROSS**2 * frame_size[0] * frame_size[1] / (usual_height * usual_width)))


def patches_across(config: PreTrainedConfig) -> int:
    """Patches in a row of a frame."""
    vision = config.vision_config
    if vision.model_type == TIMM:
        image, patch = _timm_frame(vision)
        return image // patch
    image, patch = (x if isinstance(x, int) else x[0] for x in (vision.image_size, vision.patch_size))
    return int(image) // int(patch)


def _timm_frame(vision: PreTrainedConfig) -> tuple[int, int]:
    """Sides of the frame and of a patch, as timm's configuration says."""
    given = vision.model_args or {}
    image, patch = given["img_size"], given.get("patch_size", 14)  # of the released towers
    return int(image if isinstance(image, int) else image[0]), int(patch)


# By `model_type`: N of a frame, where its tower takes one size.
PER_FRAME: dict[str, Callable[[Any], int]] = {
    "llava_onevision": lambda config: ceil(patches_across(config) / 2) ** 2,  # pooled 2 x 2
    "llava_next_video": lambda config: (patches_across(config) // int(config.spatial_pool_stride)) ** 2,
    "video_llava": lambda config: patches_across(config) ** 2 + 1,  # and [CLS]
    "internvl": lambda config: int(patches_across(config) * config.downsample_ratio) ** 2,
    "gemma3": lambda config: int(config.mm_tokens_per_image),
    "perception_lm": lambda config: (patches_across(config) // int(config.projector_pooling_ratio)) ** 2,
    "smolvlm": lambda config: (patches_across(config) // int(config.scale_factor)) ** 2,
}


def placeholder_id(model: PreTrainedModel) -> int:
    """The id that stands for a visual token in a prompt."""
    return int(getattr(model.config, f"{family_of(model.config).modality}_token_id"))


def true_positions(positions: Tensor, places: Tensor, seconds: Tensor, per_frame: int, step: float) -> Tensor:
    """Temporal positions by the frames' true times, where the family assumes that frames are evenly spaced.

    Args:
        positions: (4, 1, S) as the family computes them: a row of the text's, then time, height and width.
        places: (F * N,) where the video's placeholders stand.
        seconds: (F,) of the frames, ascending.
        per_frame: N.
        step: seconds of one position.

    Returns:
        (4, 1, S): a frame stands at its time since the first; what follows begins behind the largest.

    Example:
        >>> even = torch.tensor([[[0, 1, 2, 3]], [[0, 1, 2, 3]], [[0, 1, 1, 3]], [[0, 1, 1, 3]]])
        >>> true_positions(even, torch.tensor([1, 2]), torch.tensor([5.0, 9.0]), 1, 1.0)[1, 0].tolist()
        [0, 1, 5, 6]
    """
    made = positions.clone()
    first, last = int(places[0]), int(places[-1])
    start = positions[1:, 0, first].min()
    steps = ((seconds - seconds[0]) / step).round().long().to(positions.device)
    made[1, 0, places] = start + steps.repeat_interleave(per_frame)
    if last + 1 < positions.shape[-1]:
        behind = made[1:, 0, places].max() + 1
        made[1:, 0, last + 1 :] += behind - positions[1:, 0, last + 1].min()
    return made


def encode(model: PreTrainedModel, family: Family, pixels: dict[str, Tensor], frames: int) -> Tensor:
    """Visual tokens of frames, by the model's own method: (t, N, D).

    Where layers of the language model get tokens of their own, these follow on the channels, (t, N, D + ...),
    so that whatever becomes of a token becomes of them.

    Args:
        pixels: what the family's video processor made of the frames.
        frames: t.
    """
    rows = _tokens(getattr(model.base_model, family.method)(**pixels, return_dict=True), family)
    return rows[: len(rows) - family.tail].unflatten(0, (frames, -1))


def encode_picture(
    model: PreTrainedModel, family: Family, pixels: dict[str, Tensor], copies: int, tail: int
) -> Tensor:
    """Visual tokens of one picture, by the model's own method for pictures: (1, N, D + ...), as of a frame.

    Args:
        pixels: what the family's image processor made of it.
        copies: how often it is in there.
        tail: tokens behind each copy that are of no place in it; left out.
    """
    rows = _tokens(model.base_model.get_image_features(**pixels, return_dict=True), family)
    return rows[None, : len(rows) // copies - tail]


def _tokens(output: Any, family: Family) -> Tensor:
    """(K, D + ...) of an encoder's output; what is for single layers follows on the channels."""
    parts = [output.pooler_output, *(output.deepstack_features if family.deep else ())]
    return torch.cat([_rows(part) for part in parts], dim=-1)


def _rows(found: Tensor | Sequence[Tensor]) -> Tensor:
    """(K, D) of one tensor, or of a list of them."""
    return torch.cat([x.flatten(0, -2) for x in ([found] if isinstance(found, Tensor) else found)])
