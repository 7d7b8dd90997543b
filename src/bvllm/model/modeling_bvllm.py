"""B-VLLM as a Hugging Face model: backbone, head, and generation.

The backbone runs the language model on rows without gaps (see `packing`) and returns states in the caller's
layout, so that labels, logits and metrics line up with `input_ids` whatever the budget left over.
"""

import torch
from torch import Tensor, nn
from transformers import AutoModel, GenerationMixin
from transformers.cache_utils import Cache
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast
from transformers.utils import can_return_tuple

from bvllm.model.configuration_bvllm import BVLLMConfig
from bvllm.model.language import build_head, embedding_name, finish_logits
from bvllm.model.modules import ClockEmbedding
from bvllm.model.outputs import BVLLMVisualOutput
from bvllm.model.packing import Packing, used_slots
from bvllm.model.visual import BVLLMPreTrainedModel, BVLLMVisualModel

__all__ = ["BVLLMForConditionalGeneration", "BVLLMModel", "ClockEmbedding"]

PIXELS = (
    "pixel_values_videos",
    "video_num_frames",
    "video_seconds",
    "qformer_input_ids",
    "qformer_attention_mask",
)


class BVLLMModel(BVLLMVisualModel):
    """The backbone: the visual side and a decoder without its head."""

    def __init__(self, config: BVLLMConfig) -> None:
        super().__init__(config)
        self.language_model = AutoModel.from_config(config.text_config)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.language_model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.language_model.set_input_embeddings(value)

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        pixel_values_videos: Tensor | None = None,
        video_num_frames: Tensor | None = None,
        video_seconds: Tensor | None = None,
        qformer_input_ids: Tensor | None = None,
        qformer_attention_mask: Tensor | None = None,
        mm_encoder_outputs: dict[str, BVLLMVisualOutput] | None = None,
        **kwargs,
    ) -> BaseModelOutputWithPast:
        """Last hidden states, one for each place of `input_ids`.

        Args:
            input_ids: (B, S) a row may hold any number of clips, or none.
            attention_mask: (B, S).
            position_ids: (B, S); ignored where unused slots are dropped, as positions then change.
            past_key_values: a cache; it holds the packed rows, so `generate` is the way to continue from it.
            inputs_embeds: (B, S, D) instead of a look-up; placeholders are still found by id.
            use_cache: whether to return a cache.
            pixel_values_videos, video_num_frames, video_seconds, qformer_input_ids, qformer_attention_mask:
                see `get_video_features`; clips in the order of their placeholders.
            mm_encoder_outputs: {"video": output of `get_video_features` or `spend`} instead of pixels.
            **kwargs: handed on to the language model.
        """
        visual = (mm_encoder_outputs or {}).get("video")
        if visual is None and pixel_values_videos is not None:
            visual = self.get_video_features(
                pixel_values_videos,
                video_num_frames,
                video_seconds,
                qformer_input_ids,
                qformer_attention_mask,
            )
        if inputs_embeds is None:
            inputs_embeds = self.get_input_embeddings()(input_ids)
        packing = None
        if visual is not None:
            inputs_embeds, packing = self._fill(input_ids, inputs_embeds, attention_mask, visual)
        if packing is not None:
            attention_mask, position_ids = packing.mask, packing.positions
        output = self.language_model(
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            use_cache=use_cache,
            **kwargs,
        )
        states = output.last_hidden_state
        return BaseModelOutputWithPast(
            last_hidden_state=states if packing is None else packing.unpack(states),
            past_key_values=output.past_key_values,
            hidden_states=output.hidden_states,
            attentions=output.attentions,
        )

    def _fill(
        self, ids: Tensor | None, embeds: Tensor, mask: Tensor | None, visual: BVLLMVisualOutput
    ) -> tuple[Tensor, Packing | None]:
        """Put visual tokens into their slots, and close the gaps."""
        used = self.used_slots(ids, visual)
        tokens = torch.cat(list(visual.pooler_output)).to(embeds.device, embeds.dtype)
        embeds = embeds.masked_scatter(used[..., None], tokens)
        packing = self.packing(ids, mask, used)
        return (embeds if packing is None else packing.pack(embeds)), packing

    def used_slots(self, input_ids: Tensor | None, visual: BVLLMVisualOutput) -> Tensor:
        """(B, S) True where a placeholder gets a visual token."""
        if input_ids is None:
            raise ValueError(
                "input_ids must be given with videos, got None: placeholders are found by their id"
            )
        slots = None
        if visual.selections is not None:
            slots = [self.config.slots.count(s.weights.shape[1]) for s in visual.selections]
        lengths = [len(tokens) for tokens in visual.pooler_output]
        return used_slots(input_ids == self.config.video_token_id, lengths, slots)

    def packing(
        self, input_ids: Tensor, attention_mask: Tensor | None, used: Tensor, *, left: bool | None = None
    ) -> Packing | None:
        """How to close the gaps that unused slots leave; None where there are none.

        Args:
            used: (B, S) from `used_slots`.
            left: on which side to pad; None keeps the side the caller pads on.
        """
        unused = (input_ids == self.config.video_token_id) & ~used
        if not bool(unused.any()):
            return None
        there = torch.ones_like(unused) if attention_mask is None else attention_mask.bool()
        if left is None:
            left = not bool(there[:, 0].all())
        return Packing.of(there & ~unused, left=left)


class BVLLMForConditionalGeneration(BVLLMPreTrainedModel, GenerationMixin):
    """A B-VLLM that answers: the backbone `model` and the language model's head `lm_head`."""

    def __init__(self, config: BVLLMConfig) -> None:
        super().__init__(config)
        self.model = BVLLMModel(config)
        self.lm_head = build_head(config.text_config)
        table = embedding_name(self.model.language_model)
        self._tied_weights_keys = {"lm_head.weight": f"model.language_model.{table}"}
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.model.set_input_embeddings(value)

    def get_output_embeddings(self) -> nn.Module:
        return self.lm_head

    def set_output_embeddings(self, value: nn.Module) -> None:
        self.lm_head = value

    def get_video_features(
        self,
        pixel_values_videos: Tensor,
        video_num_frames: Tensor,
        video_seconds: Tensor,
        qformer_input_ids: Tensor | None = None,
        qformer_attention_mask: Tensor | None = None,
    ) -> BVLLMVisualOutput:
        """See `BVLLMModel.get_video_features`."""
        return self.model.get_video_features(
            pixel_values_videos, video_num_frames, video_seconds, qformer_input_ids, qformer_attention_mask
        )

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        pixel_values_videos: Tensor | None = None,
        video_num_frames: Tensor | None = None,
        video_seconds: Tensor | None = None,
        qformer_input_ids: Tensor | None = None,
        qformer_attention_mask: Tensor | None = None,
        mm_encoder_outputs: dict[str, BVLLMVisualOutput] | None = None,
        logits_to_keep: int | Tensor = 0,
        num_items_in_batch: int | Tensor | None = None,
        **kwargs,
    ) -> CausalLMOutputWithPast:
        """Logits, and the loss where there are labels; see `BVLLMModel.forward` for the inputs.

        Args:
            labels: (B, S) ids to predict, -100 where there is nothing to learn: on every placeholder, too.
            logits_to_keep: the last so many places, or indices of places; 0 keeps all.
            num_items_in_batch: what the loss is divided by, under gradient accumulation.
        """
        output = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=False if use_cache is None and labels is not None else use_cache,
            pixel_values_videos=pixel_values_videos,
            video_num_frames=video_num_frames,
            video_seconds=video_seconds,
            qformer_input_ids=qformer_input_ids,
            qformer_attention_mask=qformer_attention_mask,
            mm_encoder_outputs=mm_encoder_outputs,
            **kwargs,
        )
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        text_config = self.config.text_config
        logits = finish_logits(self.lm_head(output.last_hidden_state[:, kept]), text_config)
        loss = None
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

    @torch.no_grad()
    def generate(self, inputs: Tensor | None = None, **kwargs):
        """`GenerationMixin.generate` on the packed prompt; what comes back begins with the caller's own.

        Pixels are encoded once, before anything else. Lengths are counted on the packed prompt, so use
        `max_new_tokens`; a streamer that does not skip the prompt sees the packed one.

        Args:
            inputs: (B, S) prompts, or `input_ids` by name.
            **kwargs: the processor's outputs, or `mm_encoder_outputs`, and generation settings.
        """
        ids = kwargs.pop("input_ids", None) if inputs is None else inputs
        visual = (kwargs.get("mm_encoder_outputs") or {}).get("video")
        if kwargs.get("pixel_values_videos") is not None:
            visual = self.get_video_features(**{k: kwargs.pop(k) for k in PIXELS if k in kwargs})
        kwargs["suppress_tokens"] = self._never_written(kwargs)
        if visual is None:
            return super().generate(ids, **{k: v for k, v in kwargs.items() if k not in PIXELS})
        mask = kwargs.pop("attention_mask", None)
        packing = self.model.packing(ids, mask, self.model.used_slots(ids, visual), left=True)
        packed = ids if packing is None else packing.pack(ids, self._padding_id())
        # Only the features: what else the output holds is not ours to copy for every beam.
        kwargs["mm_encoder_outputs"] = {"video": BVLLMVisualOutput(list(visual.pooler_output))}
        if packing is not None or mask is not None:
            kwargs["attention_mask"] = mask if packing is None else packing.mask
        output = super().generate(packed, **kwargs)
        sequences = output if isinstance(output, Tensor) else output.sequences
        prompts = ids.repeat_interleave(len(sequences) // len(ids), dim=0)
        sequences = torch.cat([prompts, sequences[:, packed.shape[1] :]], dim=1)
        if isinstance(output, Tensor):
            return sequences
        output.sequences = sequences
        return output

    def _never_written(self, settings: dict) -> list[int]:
        """Tokens that no answer may hold: a placeholder would wait for a clip that is not there."""
        config = settings.get("generation_config") or self.generation_config
        given = settings.get("suppress_tokens", config.suppress_tokens)
        return sorted({*(given or ()), self.config.video_token_id, self.config.image_token_id})

    def _padding_id(self) -> int:
        """What stands in front of shorter prompts; attention never sees it."""
        padding = self.generation_config.pad_token_id
        return 0 if padding is None else int(padding)
