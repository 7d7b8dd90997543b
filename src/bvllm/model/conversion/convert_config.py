"""Derive a converted model's configuration from the release's settings and weight shapes."""

from collections.abc import Mapping
from dataclasses import fields
from math import isqrt
from typing import Any

from transformers import (
    CLIPVisionConfig,
    InstructBlipQFormerConfig,
    InstructBlipVisionConfig,
    PreTrainedConfig,
    SiglipVisionConfig,
)
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from bvllm.model import BVLLMConfig
from bvllm.model.connectors import FORMS, LlamaVidConfig, VideoLlama2Config
from bvllm.model.connectors.released import TOWER

KINDS = ("llama-vid", "videollama2")
Shapes = Mapping[str, tuple[int, ...]]
Settings = Mapping[str, Any]
# Decoders by the end of the release's `model_type`; "llava" and "llava_llama" are LLaMA-VID's.
DECODERS = {"llava": "llama", "videollama2": "llama"} | {
    name: name for name in ("llama", "mistral", "mixtral", "qwen2", "gemma2", "phi3")
}
HEAD_CHANNELS = 64  # of CLIP, of SigLIP base, and of BERT base
EVA_HEAD_CHANNELS = 88
SIGLIP_HEAD_CHANNELS = {1152: 72}  # so400m
BERT_EPS = 1e-12
NUM_FRAMES = 8  # where the release does not say


def connected_config(kind: str, settings: Settings, shapes: Shapes, video_token_id: int) -> BVLLMConfig:
    """The configuration under which a release's weights give the outputs that they gave.

    Args:
        kind: "llama-vid" or "videollama2".
        settings: its config.json.
        shapes: of its weights, by its names.
        video_token_id: the placeholder's, in its tokenizer.

    Raises:
        ValueError: the release is of a kind that cannot be converted.
    """
    feature = settings.get("mm_vision_select_feature", "patch")
    if feature != "patch":
        raise ValueError(
            f"mm_vision_select_feature must be 'patch', got {feature!r}: only such releases can be converted"
        )
    eva = f"{TOWER}cls_token" in shapes
    vision, text = _vision(shapes, eva=eva), _text(settings, shapes, video_token_id)
    common = {
        "vision_config": vision,
        "text_config": text,
        "token_sampler": "none",
        "clock": False,
        "video_token_id": video_token_id,
        "vision_feature_layer": -1 if eva else int(settings.get("mm_vision_select_layer", -2)),
    }
    if kind == "videollama2":
        frames = int(settings.get("num_frames") or NUM_FRAMES)
        connector = _videollama2(settings, shapes)
        side = vision.image_size // vision.patch_size
        steps, rows, columns = connector.block(frames, side, side)
        return BVLLMConfig(
            **common,
            connector=connector,
            frame_selector="uniform",
            num_selected_frames=frames,
            budget_tokens=steps * rows * columns,
        )
    return BVLLMConfig(
        **common,
        connector=_llama_vid(settings, shapes, eva=eva),
        spatial_qformer_config=_reader(shapes),
        frame_selector="none",
        budget_tokens=int(settings.get("max_token") or text.max_position_embeddings),
    )


def _text(settings: Settings, shapes: Shapes, video_token_id: int) -> PreTrainedConfig:
    name = str(settings.get("model_type", ""))
    kind = DECODERS.get(name) or DECODERS.get(name.rsplit("_", 1)[-1])
    if kind is None:
        raise ValueError(
            f"model_type must be that of a LLaMA-VID or VideoLLaMA2, got {name!r}: point to its config.json"
        )
    family = CONFIG_MAPPING[kind]
    known = {field.name for field in fields(family)} | {"rope_theta", "rope_scaling"}
    own = {k: v for k, v in settings.items() if k in known and k not in ("architectures", "dtype")}
    rows = _shape(shapes, "model.embed_tokens.weight")[0]
    if video_token_id > rows:
        raise ValueError(
            f"the tokenizer must have at most one word more than the checkpoint's {rows}, got the "
            f"placeholder at {video_token_id}: use the tokenizer that was released with it"
        )
    return family(**own | {"vocab_size": max(rows, video_token_id + 1), "tie_word_embeddings": False})


def _vision(shapes: Shapes, *, eva: bool) -> PreTrainedConfig:
    if eva:
        width, patch = _shape(shapes, f"{TOWER}patch_embed.proj.weight")[::3]
        cells = _shape(shapes, f"{TOWER}pos_embed")[1] - 1
        return InstructBlipVisionConfig(
            hidden_size=width,
            intermediate_size=_shape(shapes, f"{TOWER}blocks.0.mlp.fc1.weight")[0],
            num_hidden_layers=_count(shapes, f"{TOWER}blocks."),
            num_attention_heads=width // EVA_HEAD_CHANNELS,
            image_size=isqrt(cells) * patch,
            patch_size=patch,
        )
    inside = f"{TOWER}vision_model."
    width, patch = _shape(shapes, f"{inside}embeddings.patch_embedding.weight")[::3]
    cells = _shape(shapes, f"{inside}embeddings.position_embedding.weight")[0]
    siglip = f"{inside}embeddings.class_embedding" not in shapes
    family = SiglipVisionConfig if siglip else CLIPVisionConfig
    channels = SIGLIP_HEAD_CHANNELS.get(width, HEAD_CHANNELS) if siglip else HEAD_CHANNELS
    return family(
        hidden_size=width,
        intermediate_size=_shape(shapes, f"{inside}encoder.layers.0.mlp.fc1.weight")[0],
        num_hidden_layers=_count(shapes, f"{inside}encoder.layers."),
        num_attention_heads=width // channels,
        image_size=isqrt(cells if siglip else cells - 1) * patch,
        patch_size=patch,
    )


def _llama_vid(settings: Settings, shapes: Shapes, *, eva: bool) -> LlamaVidConfig:
    form = settings.get("compress_type")
    grid = int(form.removeprefix("grid:")) if isinstance(form, str) and form.startswith("grid:") else None
    if grid is None and form not in (None, "mean"):
        raise ValueError(f"compress_type must be mean, grid:<n> or nothing, got {form!r}: check config.json")
    query = shapes.get("model.vlm_att_query")
    norm = shapes.get("model.vlm_att_ln.weight")
    widened = shapes.get("model.vlm_att_bert_proj.weight")
    layers = [name for name in shapes if name.startswith("model.mm_projector") and name.endswith("weight")]
    return LlamaVidConfig(
        reader="bert" if query is None else "qformer",
        queries=32 if query is None else query[1],
        content="grid" if grid else form or "all",
        grid=grid,
        normalise=norm is not None,
        reader_width=widened[0] if widened is not None and query is not None else None,
        show_cls=eva,
        projector_layers=len(layers),
    )


def _reader(shapes: Shapes) -> InstructBlipQFormerConfig:
    inside = "model.vlm_att_encoder.bert."
    words, width = _shape(shapes, f"{inside}embeddings.word_embeddings.weight")
    crossing = [
        k for k in range(_count(shapes, f"{inside}encoder.layer."))
        if f"{inside}encoder.layer.{k}.crossattention.self.query.weight" in shapes
    ]  # fmt: skip
    return InstructBlipQFormerConfig(
        vocab_size=words,
        hidden_size=width,
        num_hidden_layers=_count(shapes, f"{inside}encoder.layer."),
        num_attention_heads=width // HEAD_CHANNELS,
        intermediate_size=_shape(shapes, f"{inside}encoder.layer.0.intermediate.dense.weight")[0],
        max_position_embeddings=_shape(shapes, f"{inside}embeddings.position_embeddings.weight")[0],
        layer_norm_eps=BERT_EPS,
        cross_attention_frequency=crossing[1] - crossing[0] if len(crossing) > 1 else 2,
    )


def _videollama2(settings: Settings, shapes: Shapes) -> VideoLlama2Config:
    form = settings.get("mm_projector_type")
    if form not in FORMS:
        raise ValueError(f"mm_projector_type must be one of {', '.join(FORMS)}, got {form!r}: no other fits")
    convolution = shapes.get("model.mm_projector.sampler.0.weight")
    readout = "model.mm_projector.readout."
    layers = [name for name in shapes if name.startswith(readout) and name.endswith("weight")]
    return VideoLlama2Config(
        form,
        downsample=None if convolution is None else (convolution[2], convolution[3], convolution[4]),
        depth=_count(shapes, "model.mm_projector.s1.b", first=1),
        mlp_depth=len(layers),
    )


def _shape(shapes: Shapes, name: str) -> tuple[int, ...]:
    if name not in shapes:
        raise ValueError(
            f"the checkpoint must hold {name}, got no such weight: give the vision tower's folder where the "
            "release leaves it out, or point to the complete checkpoint"
        )
    return shapes[name]


def _count(shapes: Shapes, prefix: str, first: int = 0) -> int:
    """How many layers follow a prefix, numbered from `first`."""
    numbers = {name.removeprefix(prefix).split(".")[0] for name in shapes if name.startswith(prefix)}
    return max((int(n) for n in numbers if n.isdigit()), default=first - 1) + 1 - first
