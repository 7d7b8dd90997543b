"""B-VLLM as a Hugging Face model that answers: backbone, head, generation."""

from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import GenerationMixin
from transformers.cache_utils import Cache
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.utils import can_return_tuple

from bvllm.model.backbone import BVLLMModel
from bvllm.model.configuration_bvllm import BVLLMConfig
from bvllm.model.language import build_head, embedding_name, finish_logits
from bvllm.model.outputs import BVLLMVisualOutput
from bvllm.model.visual import BVLLMPreTrainedModel, ClockEmbedding
from bvllm.types import Budget, FrameSelection, Questions

__all__ = ["BVLLMForConditionalGeneration", "BVLLMModel", "ClockEmbedding"]

PIXELS = (
    "pixel_values_videos",
    "video_num_frames",
    "video_seconds",
    "qformer_input_ids",
    "qformer_attention_mask",
    "video_budget",
)


class BVLLMForConditionalGeneration(BVLLMPreTrainedModel, GenerationMixin):
    """A B-VLLM that answers: the backbone `model` and the language model's head `lm_head`."""

    def __init__(self, config: BVLLMConfig) -> None:
        super().__init__(config)
        self.model = BVLLMModel(config)
        self.lm_head = build_head(config.text_config)
        table = embedding_name(self.model.language_model)
        self._tied_weights_keys = {"lm_head.weight": f"model.language_model.{table}"}
        self.post_init()

    @classmethod
    def from_pretrained_parts(
        cls,
        vision: str | Path,
        language_model: str | Path,
        qformer: str | Path | None = None,
        *,
        config: BVLLMConfig | None = None,
        dtype: torch.dtype | None = None,
    ) -> "BVLLMForConditionalGeneration":
        """A new B-VLLM from released weights; `bvllm.model.parts.assemble` also says which are new."""
        from bvllm.model.parts import assemble  # it needs this class

        return assemble(vision, language_model, qformer, config=config, dtype=dtype).model

    def get_input_embeddings(self) -> nn.Module:
        return self.model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.model.set_input_embeddings(value)

    def get_output_embeddings(self) -> nn.Module:
        return self.lm_head

    def set_output_embeddings(self, value: nn.Module) -> None:
        self.lm_head = value

    @property
    def vision_tower(self) -> nn.Module:
        """The backbone's vision tower."""
        return self.model.vision_tower

    @property
    def frame_reader(self) -> nn.Module | None:
        """The backbone's reader of frames, where the selector sees what it reads."""
        return self.model.frame_reader

    @property
    def keeps_prefix(self) -> bool:
        """See `BVLLMVisualModel.keeps_prefix`."""
        return self.model.keeps_prefix

    def encode_frames(self, pixel_values: Tensor) -> Tensor:
        """See `BVLLMVisualModel.encode_frames`."""
        return self.model.encode_frames(pixel_values)

    def encode_patches(self, pixel_values: Tensor) -> Tensor:
        """See `BVLLMVisualModel.encode_patches`."""
        return self.model.encode_patches(pixel_values)

    def select_frames(
        self,
        frames: list[Tensor],
        seconds: list[Tensor],
        questions: Questions | None,
        *,
        budget: Budget | None = None,
        config: BVLLMConfig | None = None,
        seed: int = 0,
    ) -> list[FrameSelection]:
        """See `BVLLMVisualModel.select`."""
        asked = questions or (None, None)
        return self.model.select(frames, seconds, *asked, budget=budget, config=config, seed=seed)

    def reduce_to_budget(
        self,
        patches: Tensor,
        selections: list[FrameSelection],
        questions: Questions | None,
        *,
        budget: Budget | None = None,
        config: BVLLMConfig | None = None,
        seed: int = 0,
    ) -> BVLLMVisualOutput:
        """See `BVLLMVisualModel.spend`."""
        asked = questions or (None, None)
        return self.model.spend(patches, selections, *asked, budget=budget, config=config, seed=seed)

    def check_methods(self, config: BVLLMConfig) -> None:
        """Refuse a configuration that asks for trained parts which this model does not have.

        Raises:
            ValueError: such a part is named.
        """
        self.model.pipeline(config)

    def read_prompt(self, ids: Tensor, visual: BVLLMVisualOutput, states: Cache) -> None:
        """Put the beginning of a prompt through the language model, for its keys and values.

        Args:
            ids: (1, P) with exactly as many placeholders as there are visual tokens.
            visual: the tokens.
            states: takes the keys and values.
        """
        self.model(ids, mm_encoder_outputs={"video": visual}, past_key_values=states)

    def get_video_features(
        self,
        pixel_values_videos: Tensor,
        video_num_frames: Tensor,
        video_seconds: Tensor,
        qformer_input_ids: Tensor | None = None,
        qformer_attention_mask: Tensor | None = None,
        video_budget: Tensor | None = None,
    ) -> BVLLMVisualOutput:
        """See `BVLLMModel.get_video_features`."""
        return self.model.get_video_features(
            pixel_values_videos,
            video_num_frames,
            video_seconds,
            qformer_input_ids,
            qformer_attention_mask,
            video_budget,
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
        video_budget: Tensor | None = None,
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
            video_budget=video_budget,
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
        budget = kwargs.get("video_budget")
        if kwargs.get("pixel_values_videos") is not None:
            visual = self.get_video_features(**{k: kwargs.pop(k) for k in PIXELS if k in kwargs})
        kwargs["suppress_tokens"] = self._never_written(kwargs)
        if visual is None:
            if kwargs.get("past_key_values") is None:
                self.model._check_nothing_to_see(ids)
            return super().generate(ids, **{k: v for k, v in kwargs.items() if k not in PIXELS})
        mask = kwargs.pop("attention_mask", None)
        packing = self.model.packing(ids, mask, self.model.used_slots(ids, visual, budget), left=True)
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
