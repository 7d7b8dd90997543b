"""Choose what learns in a stage: parts by name, adapters on the language model, learning rates."""

import re

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from bvllm.training.settings import PARTS, Part, StageSettings

ADAPTER = "default"
# Weights outside the sub-module of their part's name.
ELSEWHERE: dict[str, Part] = {
    "model.frame_reader": "frame_selector",
    "model.places": "multi_modal_projector",
    "model.text_model": "language_model",  # SmolVLM's
    "lm_head": "language_model",
}


def part_of(name: str) -> Part | None:
    """The part that a weight belongs to; None for what belongs to none.

    Example:
        >>> part_of("model.clock.hours.weight"), part_of("lm_head.weight"), part_of("model.vision_tower.x")
        ('clock', 'language_model', 'vision_tower')
    """
    for start, part in ELSEWHERE.items():
        if name.startswith(start + "."):
            return part
    return next((part for part in PARTS if name.startswith(f"model.{part}.")), None)


def prepare(model: PreTrainedModel, stage: StageSettings, *, seed: int) -> None:
    """Freeze all but what the stage trains, which becomes float32; add adapters where it asks for them.

    Args:
        model: changed in place.
        seed: of the adapters' first weights.
    """
    adapters = stage.lora_rank > 0 and "language_model" in stage.trains
    if adapters:
        torch.manual_seed(seed)
        add_adapters(model, stage)
    for name, weight in model.named_parameters():
        part = part_of(name)
        learns = part in stage.trains
        if adapters and part == "language_model":
            learns = ".lora_" in name
        weight.requires_grad_(learns)
        if learns:
            weight.data = weight.data.float()


def add_adapters(model: PreTrainedModel, stage: StageSettings) -> None:
    """LoRA on every linear layer of the decoder, and on nothing else."""
    from peft import LoraConfig, inject_adapter_in_model

    config = LoraConfig(
        r=stage.lora_rank,
        lora_alpha=stage.lora_alpha,
        lora_dropout=stage.lora_dropout,
        target_modules=decoder_layers(model),
    )
    inject_adapter_in_model(config, model, adapter_name=ADAPTER)


def decoder_layers(model: PreTrainedModel) -> str:
    """A regular expression for the full names of the decoder's linear layers; the tower's cannot match.

    Example:
        >>> re.fullmatch(r"model\\.language_model\\.(?:.+\\.)?(?:q_proj|v_proj)", "model.vision_tower.q_proj")
    """
    decoder = model.get_decoder()
    [home] = [name for name, module in model.named_modules() if module is decoder]
    modules = decoder.named_modules()
    last = sorted({re.escape(n.rpartition(".")[2]) for n, m in modules if isinstance(m, nn.Linear)})
    return rf"{re.escape(home)}\.(?:.+\.)?(?:{'|'.join(last)})"


def merge_adapters(model: PreTrainedModel) -> None:
    """Add what the adapters learned to the weights, and take the adapters out."""
    from peft.tuners.lora import LoraLayer

    adapted = [(name, m) for name, m in model.named_modules() if isinstance(m, LoraLayer)]
    for name, layer in adapted:
        layer.merge(safe_merge=True)
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, layer.get_base_layer())
    if adapted:
        del model.peft_config


def groups(model: nn.Module, stage: StageSettings, decayed: set[str]) -> list[dict[str, object]]:
    """Weights by part and by whether they decay, as an optimizer takes them.

    Args:
        decayed: names of the weights that `weight_decay` is meant for.
    """
    found: dict[tuple[str, bool], list[Tensor]] = {}
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            found.setdefault((str(part_of(name)), name in decayed), []).append(weight)
    made: list[dict[str, object]] = []
    for (part, decays), weights in found.items():
        decay = stage.weight_decay if decays else 0.0
        made.append({"params": weights, "lr": rate_of(stage, part), "weight_decay": decay})
    return made


def rate_of(stage: StageSettings, part: str) -> float:
    """The highest learning rate of a part: its own, or the stage's."""
    own: float | None = getattr(stage.rates, part, None)
    return stage.lr if own is None else own
