"""The backbone: visual tokens and text through the decoder, rows without gaps.

States come back in the caller's layout, so that labels, logits and metrics line up with `input_ids`
whatever the budget left over.
"""

from dataclasses import replace

import torch
from torch import Tensor, distributed, nn
from transformers import AutoModel
from transformers.cache_utils import Cache
from transformers.modeling_outputs import BaseModelOutputWithPast
from transformers.utils import can_return_tuple

from bvllm.model.configuration_bvllm import BVLLMConfig
from bvllm.model.outputs import BVLLMVisualOutput
from bvllm.model.packing import Packing, positions_of, used_slots
from bvllm.model.vision_tower import frame_size
from bvllm.model.visual import BVLLMVisualModel


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
        video_budget: Tensor | None = None,
        mm_encoder_outputs: dict[str, BVLLMVisualOutput] | None = None,
        **kwargs,
    ) -> BaseModelOutputWithPast:
        """Last hidden states, one for each place of `input_ids`; other arguments go to the language model.

        Args:
            input_ids: (B, S) a row may hold any number of clips, or none.
            attention_mask, position_ids: (B, S); positions are ours where unused slots are dropped.
            past_key_values, use_cache: a cache holds the packed rows, so continue from it with `generate`.
            inputs_embeds: (B, S, D) instead of a look-up; placeholders are still found by id.
            pixel_values_videos, video_num_frames, video_seconds, qformer_input_ids, qformer_attention_mask,
                video_budget: see `get_video_features`; clips in the order of their placeholders.
            mm_encoder_outputs: {"video": output of `get_video_features` or `spend`} instead of pixels.
        """
        visual, zero = (mm_encoder_outputs or {}).get("video"), None
        if visual is None and pixel_values_videos is not None:
            question = qformer_input_ids, qformer_attention_mask
            visual = self.get_video_features(
                pixel_values_videos, video_num_frames, video_seconds, *question, video_budget
            )
        elif visual is None and past_key_values is None and self._takes_part():
            zero = self.zero_of_everything()  # before the text, in the order of other processes
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
        used = self.used_slots(ids, visual, budget)
        tokens = torch.cat(list(visual.pooler_output)).to(embeds.device, embeds.dtype)
        embeds = embeds.masked_scatter(used[..., None], tokens)
        packing = self.packing(ids, mask, used)
        return (embeds if packing is None else packing.pack(embeds)), packing

    def _check_nothing_to_see(self, ids: Tensor | None) -> None:
        """Refuse a prompt that speaks of a clip which did not come."""
        if ids is not None and bool((ids == self.config.video_token_id).any()):
            raise ValueError(
                "pixel_values_videos must be given for a prompt with placeholders, got None: pass on all "
                "that the processor gave"
            )

    def used_slots(
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
        rule, slots = self.config.slots, None
        if video_budget is not None:
            rule = replace(rule, budget_tokens=int(video_budget))
        if visual.selections is not None:
            slots = [rule.count(s.weights.shape[1]) for s in visual.selections]
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
