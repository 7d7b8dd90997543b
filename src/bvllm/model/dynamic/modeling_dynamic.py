"""Dynamic-VLM as a Hugging Face model: tower, compressor, projector, decoder and its head.

Which grid each frame has is decided before the pixels are seen, by the number of frames; the prompt holds
exactly as many placeholders. Frames are compressed as they are encoded, so memory follows the budget, not the
video.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModel, GenerationMixin
from transformers.cache_utils import Cache
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast
from transformers.utils import ModelOutput, can_return_tuple

from bvllm.model.answering import AnswersText, ReadsText, VideoPreTrainedModel
from bvllm.model.card import SavesCard
from bvllm.model.clock import ClockEmbedding
from bvllm.model.dynamic.configuration_dynamic import DynamicVLMConfig
from bvllm.model.packing import positions_of
from bvllm.model.vision_tower import frame_features, frame_size, patch_features, tower_of
from bvllm.model.visual import FRAMES_PER_CALL, PATCH_FRAMES_PER_CALL
from bvllm.model.visual_parts import Projector, build_places
from bvllm.stages.compressors import build_compressor
from bvllm.stages.compressors.compressed import Compressed
from bvllm.stages.frame_grids import Grid

PIXELS = ("pixel_values_videos", "video_grids", "video_num_frames", "video_seconds")


@dataclass
class DynamicVisualOutput(ModelOutput):
    """Visual tokens of F frames, which `generate` and `forward` take back in `mm_encoder_outputs`.

    Attributes:
        pooler_output: F tensors (k_f, D), ready for the language model, in the order of their placeholders.
    """

    pooler_output: list[Tensor] = None  # type: ignore[assignment]  # transformers wants defaults


class DynamicVLMPreTrainedModel(VideoPreTrainedModel):
    """What all Dynamic-VLM classes share."""

    config: DynamicVLMConfig


class DynamicVLMModel(ReadsText, DynamicVLMPreTrainedModel):
    """The backbone: tower, compressor, projector, and a decoder without its head."""

    config: DynamicVLMConfig

    def __init__(self, config: DynamicVLMConfig) -> None:
        super().__init__(config)
        channels, width = config.vision_config.hidden_size, config.text_config.hidden_size
        self.vision_tower = tower_of(config.vision_config).model(config.vision_config)
        self.places = build_places(config.vision_config, config.place_channels)
        self.compressor = build_compressor(config.compressor, channels, config.native_grid.cells)
        self.multi_modal_projector = Projector(channels, width, config.projector_hidden_act)
        self.clock = ClockEmbedding(width) if config.clock else None
        self.language_model = AutoModel.from_config(config.text_config)
        self.post_init()

    @property
    def tower_is_frozen(self) -> bool:
        """Whether no weight of the vision tower learns; it then runs without a graph."""
        return not any(p.requires_grad for p in self.vision_tower.parameters())

    def encode_frames(self, pixel_values: Tensor) -> Tensor:
        """(t, 3, H, W) -> (t, C): one vector a frame, for what chooses frames in front of the model."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.tower_is_frozen):
            return torch.cat([
                frame_features(self.vision_tower, chunk.to(self.vision_tower.device, self.vision_tower.dtype))
                for chunk in pixel_values.split(FRAMES_PER_CALL)
            ])  # fmt: skip

    def encode_patches(self, pixel_values: Tensor) -> Tensor:
        """(t, 3, H, W) -> (t, N, C): the patches of `vision_feature_layer`, without [CLS]."""
        tower = self.vision_tower
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.tower_is_frozen):
            return torch.cat([
                patch_features(tower, chunk.to(tower.device, tower.dtype), self.config.vision_feature_layer)
                for chunk in pixel_values.split(PATCH_FRAMES_PER_CALL)
            ])  # fmt: skip

    def compress(self, patches: Tensor, grids: list[Grid], scored: Tensor | None = None) -> list[Compressed]:
        """(F, N, C) patches to the tokens of each frame, before the projector.

        Args:
            scored: see `PruneCompressor`; no other compressor has scores.
        """
        scores = () if scored is None else (self.tell_places(scored),)
        return self.compressor(self.tell_places(patches), grids, self.config.native_grid, *scores)

    def tell_places(self, patches: Tensor) -> Tensor:
        """(F, N, C) -> (F, N, C), each patch with its place where the configuration asks for it."""
        return patches if self.places is None else self.places(patches)

    def project(self, features: Tensor, seconds: Tensor | None = None) -> Tensor:
        """(K, C) compressed features -> (K, D); with a clock, the time of each, (K,), is added."""
        found = self.multi_modal_projector(features)
        if self.clock is None:
            return found
        if seconds is None:
            raise ValueError(
                "video_seconds must be given to a model with a clock, got None: pass on all of the "
                "processor's output"
            )
        return found + self.clock(seconds.to(found.device)).to(found.dtype)

    def get_video_features(
        self,
        pixel_values_videos: Tensor,
        video_grids: Tensor,
        video_num_frames: Tensor | None = None,
        video_seconds: Tensor | None = None,
    ) -> DynamicVisualOutput:
        """Encode, compress and project frames, a few at a time.

        Args:
            pixel_values_videos: (F, 3, H, W) frames of all clips.
            video_grids: (F, 2) rows and columns that each frame is compressed to.
            video_num_frames: (B,) frames of each clip; not needed here.
            video_seconds: (F,) presentation times; a clock reads them.

        Raises:
            ValueError: there is not one grid, or one time, for each frame.
        """
        frames = len(pixel_values_videos)
        for name, value in (("video_grids", video_grids), ("video_seconds", video_seconds)):
            if value is not None and len(value) != frames:
                raise ValueError(
                    f"{name} must have one entry for each of {frames} frames, got {len(value)}: take all "
                    "from the processor"
                )
        grids = [Grid(*row) for row in video_grids.tolist()]
        found: list[Tensor] = []
        for start in range(0, frames, PATCH_FRAMES_PER_CALL):
            here = slice(start, start + PATCH_FRAMES_PER_CALL)
            made = self.compress(self.encode_patches(pixel_values_videos[here]), grids[here])
            counts = [len(one.features) for one in made]
            times = None
            if video_seconds is not None:
                times = video_seconds[here].repeat_interleave(
                    torch.tensor(counts, device=video_seconds.device)
                )
            found += self.project(torch.cat([one.features for one in made]), times).split(counts)
        return DynamicVisualOutput(found)

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
        video_grids: Tensor | None = None,
        video_num_frames: Tensor | None = None,
        video_seconds: Tensor | None = None,
        mm_encoder_outputs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPast:
        """Last hidden states, one for each place of `input_ids`; other arguments go to the language model.

        Args:
            input_ids: (B, S) a row may hold any number of clips and pictures, or none.
            pixel_values_videos, video_grids, video_num_frames, video_seconds: see `get_video_features`.
            mm_encoder_outputs: {"video": what `get_video_features` gave}, not pixels.
        """
        visual = (mm_encoder_outputs or {}).get("video")
        if visual is None and pixel_values_videos is not None:
            if video_grids is None:
                raise ValueError(
                    "video_grids must be given with pixel_values_videos, got None: pass on all that the "
                    "processor gave"
                )
            visual = self.get_video_features(
                pixel_values_videos, video_grids, video_num_frames, video_seconds
            )
        if attention_mask is None and past_key_values is None and input_ids is not None:
            attention_mask = self.inferred_mask(input_ids)
        if inputs_embeds is None:
            inputs_embeds = self.get_input_embeddings()(input_ids)
        inputs_embeds = self._fill(input_ids, inputs_embeds, visual, begins=past_key_values is None)
        if position_ids is None and past_key_values is None and attention_mask is not None:
            position_ids = positions_of(attention_mask)
        return self.language_model(
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            use_cache=use_cache,
            **kwargs,
        )

    def _fill(
        self, ids: Tensor | None, embeds: Tensor, visual: DynamicVisualOutput | None, *, begins: bool
    ) -> Tensor:
        """Put visual tokens into their places; in training, text alone runs the visual side, too."""
        if visual is None:
            if begins and ids is not None and bool((ids == self.config.video_token_id).any()):
                raise ValueError(
                    "pixel_values_videos must be given for a prompt with placeholders, got None: pass on all "
                    "that DynamicVLMProcessor gave (`import bvllm.hf` first)"
                )
            learns = begins and self.training and torch.is_grad_enabled()
            return embeds + self._zero_of_everything().to(embeds) if learns else embeds
        if ids is None:
            raise ValueError(
                "input_ids must be given with videos, got None: placeholders are found by their id"
            )
        places = ids == self.config.video_token_id
        tokens = torch.cat(list(visual.pooler_output)).to(embeds.device, embeds.dtype)
        if int(places.sum()) != len(tokens):
            raise ValueError(
                f"input_ids must hold {len(tokens)} placeholders, one for each visual token, got "
                f"{int(places.sum())}: take prompt and video_grids from one call of the processor"
            )
        return embeds.masked_scatter(places[..., None], tokens)

    def _zero_of_everything(self) -> Tensor:
        """Zero, from a black frame through the visual side: sharded steps must call the same modules."""
        frame = torch.zeros(1, 3, *frame_size(self.config.vision_config), device=self.device)
        grids, seconds = torch.ones(1, 2, dtype=torch.long), torch.zeros(1, device=self.device)
        return torch.cat(self.get_video_features(frame, grids, None, seconds).pooler_output).sum() * 0.0


class DynamicVLMForConditionalGeneration(SavesCard, AnswersText, DynamicVLMPreTrainedModel, GenerationMixin):
    """A Dynamic-VLM that answers: the backbone `model` and the language model's head `lm_head`.

    Source: Dynamic-VLM (arXiv 2412.09530), from the note.
    """

    config: DynamicVLMConfig
    model: DynamicVLMModel

    def __init__(self, config: DynamicVLMConfig) -> None:
        super().__init__(config)
        self.model = DynamicVLMModel(config)
        self.add_head(config.text_config)
        self.post_init()

    def compress(self, patches: Tensor, grids: list[Grid], scored: Tensor | None = None) -> list[Compressed]:
        """See `DynamicVLMModel.compress`."""
        return self.model.compress(patches, grids, scored)

    def tell_places(self, patches: Tensor) -> Tensor:
        """See `DynamicVLMModel.tell_places`."""
        return self.model.tell_places(patches)

    def project(self, features: Tensor, seconds: Tensor | None = None) -> Tensor:
        """See `DynamicVLMModel.project`."""
        return self.model.project(features, seconds)

    def get_video_features(
        self,
        pixel_values_videos: Tensor,
        video_grids: Tensor,
        video_num_frames: Tensor | None = None,
        video_seconds: Tensor | None = None,
    ) -> DynamicVisualOutput:
        """See `DynamicVLMModel.get_video_features`."""
        return self.model.get_video_features(
            pixel_values_videos, video_grids, video_num_frames, video_seconds
        )

    @torch.no_grad()
    def generate(self, inputs: Tensor | None = None, **kwargs: Any) -> Any:
        """`GenerationMixin.generate`; pixels are encoded once, before anything else.

        Args:
            inputs: (B, S) prompts, or `input_ids` by name.
            **kwargs: the processor's outputs, or `mm_encoder_outputs`, and generation settings.
        """
        ids = kwargs.pop("input_ids", None) if inputs is None else inputs
        if kwargs.get("pixel_values_videos") is not None:
            visual = self.get_video_features(**{name: kwargs.pop(name) for name in PIXELS if name in kwargs})
            kwargs["mm_encoder_outputs"] = {"video": visual}
        kwargs = {name: value for name, value in kwargs.items() if name not in PIXELS}
        if kwargs.get("attention_mask") is None and kwargs.get("past_key_values") is None and ids is not None:
            kwargs["attention_mask"] = self.model.inferred_mask(ids)
        config = kwargs.get("generation_config") or self.generation_config
        banned = kwargs.get("suppress_tokens", config.suppress_tokens) or ()
        kwargs["suppress_tokens"] = sorted({*banned, self.config.video_token_id, self.config.image_token_id})
        return super().generate(ids, **kwargs)

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
        video_grids: Tensor | None = None,
        video_num_frames: Tensor | None = None,
        video_seconds: Tensor | None = None,
        mm_encoder_outputs: dict[str, Any] | None = None,
        logits_to_keep: int | Tensor = 0,
        num_items_in_batch: int | Tensor | None = None,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Logits, and the loss where there are labels; see `DynamicVLMModel.forward` for the inputs.

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
            video_grids=video_grids,
            video_num_frames=video_num_frames,
            video_seconds=video_seconds,
            mm_encoder_outputs=mm_encoder_outputs,
            **kwargs,
        )
        return self.answered(output, labels, logits_to_keep, num_items_in_batch)
