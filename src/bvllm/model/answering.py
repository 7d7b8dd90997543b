"""Hold what our Hugging Face models share: how they start, where text goes in, how states become answers."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.cache_utils import Cache
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast

from bvllm.model.clock import ClockTable
from bvllm.model.language import build_head, embedding_name, finish_logits
from bvllm.model.packing import infer_mask
from bvllm.stages.places import PlaceProjection


class VideoPreTrainedModel(PreTrainedModel):
    """What all classes share: what transformers may do with them, and a clock that starts at zero."""

    base_model_prefix = "model"
    main_input_name = "input_ids"
    input_modalities = ("video", "text")
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _skip_keys_device_placement = ["past_key_values"]

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, ClockTable):
            init.zeros_(module.weight)
            return
        super()._init_weights(module)
        if isinstance(module, PlaceProjection):
            init.normal_(module.weight, std=module.spread)

    def enable_input_require_grads(self) -> None:
        """Let gradients start at the text embeddings, for adapters under activation checkpointing.

        Upstream also hooks the embeddings of every sub-model: a frozen vision tower would then build a graph
        for every frame of the video.
        """
        hook = self.get_input_embeddings().register_forward_hook(lambda _, __, out: out.requires_grad_(True))
        self._require_grads_hooks = [hook]
        self._require_grads_hook = hook


class ReadsText:
    """What a backbone inherits, before the classes of transformers: its text goes into `language_model`."""

    config: Any
    language_model: Any

    def get_input_embeddings(self) -> nn.Module:
        found: nn.Module = self.language_model.get_input_embeddings()
        return found

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.language_model.set_input_embeddings(value)

    def inferred_mask(self, input_ids: Tensor) -> Tensor | None:
        """The mask of prompts that came without one; see `infer_mask`."""
        text = self.config.text_config
        ends = text.eos_token_id if isinstance(text.eos_token_id, list) else [text.eos_token_id]
        return infer_mask(input_ids, text.pad_token_id, ends)


class AnswersText:
    """What a model that answers inherits: the language model's head behind the backbone `model`."""

    config: Any
    model: Any
    lm_head: nn.Linear
    loss_function: Callable[..., Tensor]

    def add_head(self, text_config: PreTrainedConfig) -> None:
        """Put the head behind the backbone, tied to its embeddings where the configuration says so."""
        self.lm_head = build_head(text_config)
        table = embedding_name(self.model.language_model)
        self._tied_weights_keys = {"lm_head.weight": f"model.language_model.{table}"}

    def get_input_embeddings(self) -> nn.Module:
        found: nn.Module = self.model.get_input_embeddings()
        return found

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.model.set_input_embeddings(value)

    def get_output_embeddings(self) -> nn.Module:
        return self.lm_head

    def set_output_embeddings(self, value: nn.Linear) -> None:
        self.lm_head = value

    @property
    def vision_tower(self) -> nn.Module:
        """The backbone's vision tower."""
        found: nn.Module = self.model.vision_tower
        return found

    def encode_frames(self, pixel_values: Tensor) -> Tensor:
        """See the backbone's."""
        found: Tensor = self.model.encode_frames(pixel_values)
        return found

    def encode_patches(self, pixel_values: Tensor) -> Tensor:
        """See the backbone's."""
        found: Tensor = self.model.encode_patches(pixel_values)
        return found

    def read_prompt(self, ids: Tensor, visual: Any, states: Cache) -> None:
        """Put the beginning of a prompt through the language model, for its keys and values.

        Args:
            ids: (1, P) with exactly as many placeholders as there are visual tokens.
            visual: the tokens.
            states: takes the keys and values.
        """
        self.model(ids, mm_encoder_outputs={"video": visual}, past_key_values=states)

    def answered(
        self,
        output: BaseModelOutputWithPast,
        labels: Tensor | None,
        logits_to_keep: int | Tensor,
        num_items_in_batch: int | Tensor | None,
    ) -> CausalLMOutputWithPast:
        """Logits of the backbone's states, and the loss where there are labels; arguments are `forward`'s."""
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        text_config, loss = self.config.text_config, None
        logits = finish_logits(self.lm_head(output.last_hidden_state[:, kept]), text_config)
        if labels is not None:
            loss = self.loss_function(
                logits=logits,
                labels=labels,
                vocab_size=text_config.vocab_size,
                num_items_in_batch=num_items_in_batch,
            )
        return CausalLMOutputWithPast(
            loss=loss,
            logits=logits,
            past_key_values=output.past_key_values,
            hidden_states=output.hidden_states,
            attentions=output.attentions,
        )
