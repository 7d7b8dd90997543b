"""Apply what some decoders put between the last state and the logits beside a matrix."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

Rule = Callable[[Tensor, PreTrainedConfig], Tensor]


def _softcap(logits: Tensor, config: PreTrainedConfig) -> Tensor:
    cap = config.final_logit_softcapping
    return logits if cap is None else cap * torch.tanh(logits / cap)


def _multiply(logits: Tensor, config: PreTrainedConfig) -> Tensor:
    return logits * config.logit_scale


def _divide(logits: Tensor, config: PreTrainedConfig) -> Tensor:
    return logits / config.logits_scaling


def _falcon(logits: Tensor, config: PreTrainedConfig) -> Tensor:
    return logits * config.lm_head_multiplier


# What the decoder's own `ForCausalLM` does after its head; the bare decoder inside a B-VLLM loses it.
LOGIT_RULES: dict[str, Rule] = {
    "gemma2": _softcap,
    "gemma3_text": _softcap,
    "cohere": _multiply,
    "cohere2": _multiply,
    "granite": _divide,
    "granitemoe": _divide,
    "granitemoehybrid": _divide,
    "falcon_h1": _falcon,
}
# Settings that say such a thing, by any family, and the value that says nothing.
LOGIT_SETTINGS: dict[str, tuple[object, ...]] = {
    "final_logit_softcapping": (None,),
    "logits_soft_cap": (None,),
    "logit_scale": (None, 1.0),
    "logits_scaling": (None, 1.0),
    "lm_head_multiplier": (None, 1.0),
}
BIASED_HEADS = frozenset({"phi", "gptj", "codegen"})


def build_head(config: PreTrainedConfig) -> nn.Linear:
    """The language model's head: (D) -> (vocabulary).

    Raises:
        ValueError: the family does something to its logits that is not known here.
    """
    if config.model_type not in LOGIT_RULES:
        for name, neutral in LOGIT_SETTINGS.items():
            if getattr(config, name, None) not in neutral:
                raise ValueError(
                    f"text_config of type {config.model_type!r} must leave its logits as they are, got "
                    f"{name} {getattr(config, name)}: add its rule to bvllm/model/language.py"
                )
    return nn.Linear(config.hidden_size, config.vocab_size, bias=config.model_type in BIASED_HEADS)


def finish_logits(logits: Tensor, config: PreTrainedConfig) -> Tensor:
    """What the family does to its logits after the head."""
    rule = LOGIT_RULES.get(config.model_type)
    return logits if rule is None else rule(logits, config)


def embedding_name(language_model: PreTrainedModel) -> str:
    """Dotted name of the weight of the input embeddings, for tying the head to it."""
    table = language_model.get_input_embeddings()
    return next(f"{name}.weight" for name, module in language_model.named_modules() if module is table)
