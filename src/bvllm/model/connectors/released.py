"""Map the keys of the baselines' released checkpoints to ours; a key without a place is an error.

| released | ours |
|---|---|
| `lm_head.*` | `lm_head.*` |
| `model.embed_tokens.*`, `model.layers.*`, `model.norm.*` | `model.language_model.*` |
| `model.mm_projector.*` (VideoLLaMA2) | `model.multi_modal_projector.*` |
| `model.mm_projector.*`, `model.vlm_att_*` (LLaMA-VID) | see `names_llama_vid` |
| `model.vision_tower.vision_tower.vision_model.*` (CLIP, SigLIP) | `model.vision_tower.*` |
| `model.vision_tower.vision_tower.*` (EVA ViT-g) | `model.vision_tower.*`, see `EVA` |
| `*.rotary_emb.inv_freq`, `*.position_ids` | nothing: computed |
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from bvllm.model.connectors.names_llama_vid import PREFIXES, rename_llama_vid

LANGUAGE = ("embed_tokens.", "layers.", "norm.")
TOWER = "model.vision_tower.vision_tower."
COMPUTED = (".rotary_emb.inv_freq", ".position_ids")
EVA = {
    "cls_token": "embeddings.class_embedding",
    "pos_embed": "embeddings.position_embedding",
    "patch_embed.proj.": "embeddings.patch_embedding.",
    "blocks.": "encoder.layers.",
    ".attn.qkv.": ".self_attn.qkv.",
    ".attn.proj.": ".self_attn.projection.",
    ".norm1.": ".layer_norm1.",
    ".norm2.": ".layer_norm2.",
}
# EVA has no norm after its last layer; LLaMA-VID's own stands where InstructBLIP's tower has one. Where the
# reader is as wide, it is copied there: the frame features of a selector trained later start from it.
LAST_NORM = "model.vision_tower.post_layernorm"


@dataclass(frozen=True)
class Recipe:
    """How one of our weights is made.

    Attributes:
        sources: names of released weights.
        how: "same", the "first" of a batch of one, or queries', keys' and values' biases in one ("qkv": keys
            of EVA ViT-g have none).
    """

    sources: tuple[str, ...]
    how: Literal["same", "first", "qkv"] = "same"

    def make(self, weights: list[Tensor]) -> Tensor:
        """Our weight from the released ones, in the order of `sources`."""
        if self.how == "qkv":
            return torch.cat([weights[0], torch.zeros_like(weights[0]), weights[1]])
        return weights[0][0].clone() if self.how == "first" else weights[0]


def recipes(names: Iterable[str]) -> dict[str, Recipe]:
    """Our weights by name, each with what it is made of.

    Raises:
        ValueError: keys have no place; it names every one.

    Example:
        >>> recipes(["model.norm.weight", "model.layers.0.self_attn.rotary_emb.inv_freq"])
        {'model.language_model.norm.weight': Recipe(sources=('model.norm.weight',), how='same')}
    """
    released = sorted(names)
    qformer = "model.vlm_att_query" in released
    made: dict[str, Recipe] = {}
    over = []
    for name in released:
        if name.endswith(COMPUTED):
            continue
        ours = _place(name, llama_vid=any("vlm_att_" in n for n in released), qformer=qformer)
        if ours is None:
            over.append(name)
        elif name.endswith(".attn.q_bias"):
            made[ours] = Recipe((name, name.replace("q_bias", "v_bias")), "qkv")
        elif not name.endswith(".attn.v_bias"):
            made[ours] = Recipe((name,), "first" if name == "model.vlm_att_query" else "same")
    if over:
        raise ValueError(
            f"every released weight must have a place, got {len(over)} without one, {', '.join(over[:8])}: "
            "docs/connectors.md lists what can be converted"
        )
    return made


def eva_norm(names: Iterable[str]) -> dict[str, Recipe]:
    """The norm after the last layer of EVA ViT-g: a copy of LLaMA-VID's own (see `LAST_NORM`)."""
    found = [f"model.vlm_att_ln.{part}" for part in ("weight", "bias")]
    if not set(found) <= set(names):
        raise ValueError(
            "an EVA ViT-g must come with a Q-Former that was pretrained on it, got no model.vlm_att_ln: "
            "this bert_type of LLaMA-VID cannot be converted"
        )
    return {f"{LAST_NORM}.{name.rsplit('.', 1)[1]}": Recipe((name,)) for name in found}


def _place(name: str, *, llama_vid: bool, qformer: bool) -> str | None:
    if name.startswith("lm_head."):
        return name
    inner = name.removeprefix("model.")
    if inner == name:
        return None
    if inner.startswith(LANGUAGE):
        return f"model.language_model.{inner}"
    if name.startswith(TOWER):
        return f"model.vision_tower.{_tower_name(name.removeprefix(TOWER))}"
    if llama_vid and inner.startswith(PREFIXES):
        ours = rename_llama_vid(inner, qformer=qformer)
        return None if ours is None else f"model.multi_modal_projector.{ours}"
    if inner.startswith("mm_projector."):
        return f"model.multi_modal_projector.{inner.removeprefix('mm_projector.')}"
    return None


def _tower_name(name: str) -> str:
    if not name.startswith(("cls_token", "pos_embed", "patch_embed.", "blocks.")):
        return name.removeprefix("vision_model.")
    name = name.replace(".attn.q_bias", ".attn.qkv.bias").replace(".attn.v_bias", ".attn.qkv.bias")
    for theirs, ours in EVA.items():
        name = name.replace(theirs, ours)
    return name
