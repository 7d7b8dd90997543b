"""Say which language models tokens can be dropped in, and how their attention is put together."""

from dataclasses import dataclass
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from bvllm.types import MethodRefused


@dataclass(frozen=True)
class DecoderKind:
    """What of a decoder's attention differs between families.

    Attributes:
        norms: whether queries and keys pass a norm of their own before they are rotated.
        rotary_3d: whether positions have time, height and width (M-RoPE): they are gathered, never counted
            anew.
    """

    norms: bool = False
    rotary_3d: bool = False


# By `model_type` of the language model's configuration: those whose attention was compared with scoring.py.
DECODERS: dict[str, DecoderKind] = {
    "llama": DecoderKind(),
    "mistral": DecoderKind(),
    "qwen2": DecoderKind(),
    "qwen3": DecoderKind(norms=True),
    "qwen2_vl_text": DecoderKind(rotary_3d=True),
    "qwen2_5_vl_text": DecoderKind(rotary_3d=True),
    "qwen3_vl_text": DecoderKind(norms=True, rotary_3d=True),
}
FULL = "full_attention"
ATTENTION = ("sdpa", "eager")  # what layers can be given a mask of their own for


@dataclass(frozen=True)
class Decoder:
    """The language model inside a video model, ready for pruning.

    Attributes:
        module: with `layers`, `norm` and `rotary_emb`.
        kind: how its attention is put together.
        first: the earliest layer before which tokens may go.
    """

    module: Any
    kind: DecoderKind
    first: int

    @property
    def layers(self) -> nn.ModuleList:
        layers: nn.ModuleList = self.module.layers
        return layers

    @property
    def attention(self) -> str:
        """Name of the implementation that runs attention."""
        return str(self.module.config._attn_implementation)


def decoder_of(model: PreTrainedModel) -> Decoder:
    """The language model of a video model, if tokens can be dropped inside it.

    Raises:
        MethodRefused: its family has no record, a layer sees a window only, or its attention takes no masks.
    """
    module = model.get_decoder()
    config = module.config
    kind = DECODERS.get(str(config.model_type))
    if kind is None:
        raise MethodRefused(
            f"language model must be one of {', '.join(DECODERS)} for tokens to be dropped inside it, got "
            f"{config.model_type!r}: reduce them before it, with merge_tokens"
        )
    windows = sorted({t for t in getattr(config, "layer_types", None) or () if t != FULL})
    if config.model_type == "mistral" and config.sliding_window is not None:
        windows = ["sliding_attention"]
    if windows:
        raise MethodRefused(
            "language model must see the whole prompt in every layer for tokens to be dropped inside it, "
            f"got {windows[0]}: what a window shows changes with what is dropped; reduce with merge_tokens"
        )
    decoder = Decoder(module, kind, _first(model))
    if decoder.attention not in ATTENTION:
        raise MethodRefused(
            f"attn_implementation must be one of {', '.join(ATTENTION)} for tokens to be dropped inside the "
            f"language model, got {decoder.attention!r}: load it with attn_implementation='sdpa'"
        )
    return decoder


def _first(model: PreTrainedModel) -> int:
    """Masks are measured at the first layer; layers with visual tokens of their own need all of them."""
    vision = getattr(model.config, "vision_config", None)
    deep = getattr(vision, "deepstack_visual_indexes", None) or ()
    return max(1, len(deep))
