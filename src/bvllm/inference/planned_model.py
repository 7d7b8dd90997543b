"""Count what a model costs from its configuration alone: shapes have no weights to load."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import (
    CONFIG_MAPPING,
    AutoModelForImageTextToText,
    PreTrainedConfig,
    PreTrainedModel,
)

from bvllm.common.trust import loading
from bvllm.inference.balanced import BUDGET
from bvllm.inference.hub import reachable_hub
from bvllm.inference.model_name import PRESETS, resolve_model
from bvllm.model import BVLLMConfig, BVLLMForConditionalGeneration
from bvllm.model.backbones.families import FAMILIES, family_of, tokens_per_frame, usual_frame_size
from bvllm.model.dynamic import DynamicVLMConfig, DynamicVLMForConditionalGeneration
from bvllm.model.folder import ModelError
from bvllm.model.presets import paper_7b
from bvllm.model.vision_tower import frame_size, hidden_size, patch_count
from bvllm.types import Budget

TEXT_TOKENS = 64  # of question and template, beside the visual tokens
SCORER_CHANNELS = 512  # of CLIP ViT-B/32, by which frames are chosen for models that have no selector


@dataclass(frozen=True)
class PlannedModel:
    """A model in counts.

    Attributes:
        budget: its own.
        most_frames: that may be chosen; None where all are kept.
        frame_size: (height, width) of frames.
        patches: of a frame, that its tower sees or its encoder gives.
        tokens_per_frame: at most.
        tokens_plain: of a frame, if the language model read all frames as the family does without a budget.
        feature_channels: of what is kept of every sampled frame.
        parameters: of the whole model.
        parts: the same by part; a head that is the embeddings' is no part of its own.
        head_parameters: that a token is multiplied with to say what follows.
        decoder_parameters: that every token of a prompt is multiplied with: without embeddings and head.
        layers, width, state_channels: of the language model; channels of the keys and values of a token.
        positions: the most tokens that it reads.
    """

    budget: Budget
    most_frames: int | None
    frame_size: tuple[int, int]
    patches: int
    tokens_per_frame: int
    tokens_plain: int
    feature_channels: int
    parameters: int
    parts: dict[str, int]
    head_parameters: int
    decoder_parameters: int
    layers: int
    width: int
    state_channels: int
    positions: int

    @property
    def weight_bytes(self) -> int:
        """In float32, as on a CPU; half of it where there is CUDA."""
        return self.parameters * (2 if torch.cuda.is_available() else 4)

    def chosen(self, frames: int, budget: Budget) -> int:
        """How many of so many sampled frames are kept at most."""
        return frames if self.most_frames is None else min(frames, budget.frames, self.most_frames)

    def prefill_flops(self, visual_tokens: int) -> int:
        """Of reading the prompt with `TEXT_TOKENS` of text."""
        return self.read_flops(visual_tokens + TEXT_TOKENS)

    def read_flops(self, tokens: int, *, heads: int = 0) -> int:
        """Of the language model on so many tokens: two a weight and token, and causal attention.

        Args:
            heads: tokens at which the head says what follows.
        """
        weights = self.decoder_parameters * tokens + self.head_parameters * heads
        return 2 * weights + 2 * self.layers * self.width * tokens * tokens

    def state_bytes(self, visual_tokens: int) -> int:
        """Keys and values of the prompt, at two bytes a number."""
        return 2 * self.layers * self.state_channels * (visual_tokens + TEXT_TOKENS)


def planned_model(name: str) -> PlannedModel:
    """Read a configuration: a model inside the package, a preset, a folder or a hub id.

    Raises:
        ModelError: it cannot be read, or is of no family that can be asked.
    """
    if name in PRESETS:
        return _of_bvllm(paper_7b())
    where = resolve_model(name)
    try:
        with reachable_hub(where):
            settings, _ = PreTrainedConfig.get_config_dict(where, **loading())
            kind = settings.get("model_type")
            if kind in FAMILIES:
                return _of_family(CONFIG_MAPPING[kind].from_pretrained(where, **loading()))
            if kind == DynamicVLMConfig.model_type:
                return _of_dynamic(DynamicVLMConfig.from_pretrained(where, **loading()))
            return _of_bvllm(BVLLMConfig.from_pretrained(where, **loading()))
    except (
        Exception
    ) as error:  # transformers and the hub raise all kinds for a broken or absent configuration
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise ModelError(f"model {name!r} cannot be planned for: {lines[0]}") from error


def _of_bvllm(config: BVLLMConfig) -> PlannedModel:
    with torch.device("meta"):
        model = BVLLMForConditionalGeneration(config)
    return PlannedModel(
        budget=config.budget,
        most_frames=None if config.select_frames == "none" else config.most_frames,
        frame_size=frame_size(config.vision_config),
        patches=patch_count(config.vision_config),
        tokens_per_frame=config.tokens_per_frame,
        tokens_plain=config.tokens_per_frame,
        feature_channels=hidden_size(config.vision_config),
        **_decoder(model, model.model.language_model),
    )


def _of_dynamic(config: DynamicVLMConfig) -> PlannedModel:
    with torch.device("meta"):
        model = DynamicVLMForConditionalGeneration(config)
    each = patch_count(config.vision_config)
    return PlannedModel(
        budget=config.budget,
        most_frames=config.max_frames,
        frame_size=frame_size(config.vision_config),
        patches=each,
        tokens_per_frame=each,
        tokens_plain=each,
        feature_channels=hidden_size(config.vision_config),
        **_decoder(model, model.model.language_model),
    )


def _of_family(config: PreTrainedConfig) -> PlannedModel:
    with torch.device("meta"):
        model: PreTrainedModel = AutoModelForImageTextToText.from_config(config)
    each, family = tokens_per_frame(config), family_of(config)
    return PlannedModel(
        budget=BUDGET,
        most_frames=BUDGET.frames,
        frame_size=usual_frame_size(config),
        patches=each,
        tokens_per_frame=each,
        tokens_plain=each // 2 if family.pairs else each,  # two frames share a temporal patch there
        feature_channels=SCORER_CHANNELS,
        **_decoder(model, model.get_decoder()),
    )


def _decoder(model: PreTrainedModel, decoder: nn.Module) -> dict[str, Any]:
    config, head = decoder.config, model.get_output_embeddings()
    assert isinstance(config, PreTrainedConfig)
    embedded = sum(
        p.numel() for m in decoder.modules() if isinstance(m, nn.Embedding) for p in m.parameters()
    )
    heads = int(config.num_attention_heads)
    channels = int(getattr(config, "head_dim", None) or config.hidden_size // heads)
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "parts": _parts(model),
        "head_parameters": 0 if head is None else sum(p.numel() for p in head.parameters()),
        "decoder_parameters": sum(p.numel() for p in decoder.parameters()) - embedded,
        "layers": int(config.num_hidden_layers),
        "width": int(config.hidden_size),
        "state_channels": 2 * channels * int(getattr(config, "num_key_value_heads", None) or heads),
        "positions": int(config.max_position_embeddings),
    }


def _parts(model: PreTrainedModel) -> dict[str, int]:
    """Parameters by the parts of a model, each counted where it comes first."""
    counted: set[int] = set()
    found = {}
    inner = [*model.base_model.named_children()] if model.base_model is not model else []
    rest = [(name, part) for name, part in model.named_children() if part is not model.base_model]
    for name, part in (*inner, *rest):
        new = {id(p): p.numel() for p in part.parameters() if id(p) not in counted}
        counted |= new.keys()
        if new:
            found[name] = sum(new.values())
    return found
