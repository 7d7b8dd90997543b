"""B-VLLM as a Hugging Face model: the backbone, where visual tokens and text meet, and the head.

States come back in the caller's layout, so that labels, logits and metrics line up with `input_ids`
whatever the budget left over.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, nn
from transformers import AutoModel, GenerationMixin
from transformers.cache_utils import Cache
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast
from transformers.utils import can_return_tuple

from bvllm.model.answering import AnswersText, ReadsText
from bvllm.model.card import SavesCard
from bvllm.model.configuration_bvllm import BVLLMConfig
from bvllm.model.generation import PackedGeneration, remember_prompt
from bvllm.model.outputs import BVLLMVisualOutput
from bvllm.model.packing import Packing, positions_of, used_placeholders
from bvllm.model.tower_attention import lookers_of
from bvllm.model.vision_tower import frame_size
from bvllm.model.visual import BVLLMPreTrainedModel, BVLLMVisualModel
from bvllm.stages.patch_signals import PatchSignals
from bvllm.stages.reading import Looker, Reading
from bvllm.types import Budget, FrameSelection, Questions

__all__ = ["BVLLMForConditionalGeneration", "BVLLMModel"]


class BVLLMModel(ReadsText, BVLLMVisualModel):
    """The backbone: the visual side and a decoder without its head."""

    config: BVLLMConfig

    def __init__(self, config: BVLLMConfig) -> None:
        super().__init__(config)
        self.language_model = AutoModel.from_config(config.text_config)
        self.post_init()

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
        video_budget: Tensor | None = None,
        mm_encoder_outputs: dict[str, BVLLMVisualOutput] | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPast:
        """Last hidden states, one for each place of `input_ids`; other arguments go to the language model.

        Args:
            input_ids: (B, S) a row may hold any number of clips, or none.
            attention_mask, position_ids: (B, S); positions are ours where unused slots are dropped.
            past_key_values, use_cache: a cache holds the packed rows, so continue from it with `generate`.
            inputs_embeds: (B, S, D) instead of a look-up; placeholders are still found by id.
            pixel_values_videos, video_num_frames, video_seconds, qformer_input_ids, qformer_attention_mask,
                video_budget: see `get_video_features`; clips in the order of their placeholders.
            mm_encoder_outputs: {"video": what `get_video_features` or `reduce_to_budget` gave}, not pixels.
        """
        visual, zero = (mm_encoder_outputs or {}).get("video"), None
        if visual is None and pixel_values_videos is not None:
            question = qformer_input_ids, qformer_attention_mask
            visual = self.get_video_features(
                pixel_values_videos,
                video_num_frames,
                video_seconds,
                *question,
                video_budget,
            )
        elif visual is None and past_key_values is None and self._takes_part():
            zero = self.zero_of_everything()  # before the text, in the order of other processes
        if attention_mask is None and past_key_values is None and input_ids is not None:
            attention_mask = self.inferred_mask(input_ids)
        if inputs_embeds is None:
            inputs_embeds = self.get_input_embeddings()(input_ids)
        inputs_embeds, packing = self._fill(
            input_ids,
            inputs_embeds,
            attention_mask,
            visual,
            zero,
            video_budget,
            begins=past_key_values is None,
        )
        if packing is not None:
            attention_mask, position_ids = packing.mask, packing.positions
        elif position_ids is None and past_key_values is None and attention_mask is not None:
            position_ids = positions_of(attention_mask)  # as `generate` counts, wherever the padding is
        output = self.language_model(
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            use_cache=use_cache,
            **kwargs,
        )
        remember_prompt(output.past_key_values, input_ids, packing)
        states = output.last_hidden_state
        return BaseModelOutputWithPast(
            last_hidden_state=states if packing is None else packing.unpack(states),
            past_key_values=output.past_key_values,
            hidden_states=output.hidden_states,
            attentions=output.attentions,
        )

    def zero_of_everything(self) -> Tensor:
        """Zero, from one black frame that went through all of the visual side: a batch of text alone adds it.

        Where weights are sharded, a module that one process calls and another does not holds all of them up
        for ever; and where the text's own weights are frozen, there would be nothing to learn from.
        """
        frame = torch.zeros(1, 3, *frame_size(self.config.vision_config), device=self.device)
        ids = torch.zeros(1, 1, dtype=torch.long, device=self.device)
        seconds = torch.zeros(1, dtype=torch.float64, device=self.device)
        seen = self.get_video_features(frame, torch.ones(1), seconds, ids, torch.ones_like(ids))
        return torch.cat(list(seen.pooler_output)).sum() * 0.0

    def _takes_part(self) -> bool:
        """Whether the visual side runs without anything to see: in training, and beside other processes."""
        together = distributed.is_available() and distributed.is_initialized()
        return (self.training and torch.is_grad_enabled()) or (together and distributed.get_world_size() > 1)

    def _fill(
        self,
        ids: Tensor | None,
        embeds: Tensor,
        mask: Tensor | None,
        visual: BVLLMVisualOutput | None,
        zero: Tensor | None,
        budget: Tensor | None,
        *,
        begins: bool,
    ) -> tuple[Tensor, Packing | None]:
        """Put visual tokens into their slots, and close the gaps; `begins`: nothing came before this text."""
        if visual is None:
            if begins:
                self._check_nothing_to_see(ids)
            return (embeds if zero is None else embeds + zero.to(embeds)), None
        used = self.used_placeholders(ids, visual, budget)
        tokens = torch.cat(list(visual.pooler_output)).to(embeds.device, embeds.dtype)
        embeds = embeds.masked_scatter(used[..., None], tokens)
        packing = self.packing(ids, mask, used)  # type: ignore[arg-type]  # None was refused above
        return (embeds if packing is None else packing.pack(embeds)), packing

    def _check_nothing_to_see(self, ids: Tensor | None) -> None:
        """Refuse a prompt that speaks of a clip which did not come."""
        if ids is not None and bool((ids == self.config.video_token_id).any()):
            raise ValueError(
                "pixel_values_videos must be given for a prompt with placeholders, got None: pass on all "
                "that BVLLMProcessor gave (`import bvllm.hf` first, or AutoProcessor gives a bare tokenizer)"
            )

    def used_placeholders(
        self, input_ids: Tensor | None, visual: BVLLMVisualOutput, video_budget: Tensor | None = None
    ) -> Tensor:
        """(B, S) True where a placeholder gets a visual token.

        Args:
            video_budget: that the placeholders were written for; the configuration's where None.
        """
        if input_ids is None:
            raise ValueError(
                "input_ids must be given with videos, got None: placeholders are found by their id"
            )
        rule, slots = self.config.placeholders, None
        if video_budget is not None:
            rule = replace(rule, budget_tokens=int(video_budget))
        if visual.selections is not None:
            slots = [rule.count(s.weights.shape[1]) for s in visual.selections]
        lengths = [len(tokens) for tokens in visual.pooler_output]
        return used_placeholders(input_ids == self.config.video_token_id, lengths, slots)

    def packing(
        self, input_ids: Tensor, attention_mask: Tensor | None, used: Tensor, *, left: bool | None = None
    ) -> Packing | None:
        """How to close the gaps that unused slots leave; None where there are none.

        Args:
            used: (B, S) from `used_placeholders`.
            left: on which side to pad; None keeps the side the caller pads on.
        """
        unused = (input_ids == self.config.video_token_id) & ~used
        if not bool(unused.any()):
            return None
        there = torch.ones_like(unused) if attention_mask is None else attention_mask.bool()
        if left is None:
            left = not bool(there[:, 0].all())
        return Packing.of(there & ~unused, left=left)


class BVLLMForConditionalGeneration(
    SavesCard, AnswersText, BVLLMPreTrainedModel, PackedGeneration, GenerationMixin
):
    """A B-VLLM that answers: the backbone `model` and the language model's head `lm_head`."""

    config: BVLLMConfig

    def __init__(self, config: BVLLMConfig) -> None:
        super().__init__(config)
        self.model = BVLLMModel(config)
        self.add_head(config.text_config)
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
        """A new B-VLLM from released weights; `bvllm.model.assemble.assemble` also says which are new."""
        from bvllm.model.assemble import assemble  # it needs this class

        return assemble(vision, language_model, qformer, config=config, dtype=dtype).model

    @property
    def frame_reader(self) -> nn.Module | None:
        """The backbone's reader of frames, where the selector sees what it reads."""
        return self.model.frame_reader

    @property
    def frame_selector(self) -> nn.Module | None:
        """The backbone's selector of frames, where it has one."""
        return self.model.frame_selector

    def share_tower(self, tower: nn.Module) -> None:
        """Run another model's vision tower, which is equal to the own: its weights are then there once."""
        self.model.vision_tower = tower

    @property
    def keeps_prefix(self) -> bool:
        """See `BVLLMVisualModel.keeps_prefix`."""
        return self.model.keeps_prefix

    @property
    def lookers(self) -> frozenset[Looker]:
        """Whose attention can be read in the vision tower."""
        return lookers_of(self.model.vision_tower)

    def read_patches(self, pixel_values: Tensor, reading: Reading) -> tuple[Tensor, PatchSignals]:
        """See `BVLLMVisualModel.read_patches`."""
        return self.model.read_patches(pixel_values, reading)

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
        seen: Sequence[PatchSignals] | None = None,
    ) -> BVLLMVisualOutput:
        """See `BVLLMVisualModel.reduce_to_budget`."""
        asked = questions or (None, None)
        return self.model.reduce_to_budget(
            patches, selections, *asked, budget=budget, config=config, seed=seed, seen=seen
        )

    def check_methods(self, config: BVLLMConfig) -> None:
        """Refuse a configuration that asks for trained parts which this model does not have.

        Raises:
            ValueError: such a part is named.
        """
        self.model.pipeline(config)

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
        **kwargs: Any,
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
        return self.answered(output, labels, logits_to_keep, num_items_in_batch)
