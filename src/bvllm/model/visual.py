"""The visual side of a B-VLLM: encode, select, spend (B-VLLM, arXiv 2412.09919, Fig. 2).

Two passes, so that memory does not grow with the video. The first keeps one vector per frame; with the
arg-max the rows of S are one-hot, so duplicates are known before a patch feature exists, and the second
pass encodes the distinct chosen frames only.
"""

import torch
from torch import Tensor
from torch.nn.functional import layer_norm
from transformers import PreTrainedModel
from transformers import initialization as init

from bvllm.model.configuration_bvllm import BVLLMConfig
from bvllm.model.connectors import LlamaVidConfig, VideoLlama2Config
from bvllm.model.connectors.bridge import block_tokens, frame_tokens
from bvllm.model.modules import (
    ClockEmbedding,
    ClockTable,
    build_frame_reader,
    build_frame_selector,
    build_projector,
    build_token_sampler,
    every_patch,
)
from bvllm.model.outputs import BVLLMVisualOutput
from bvllm.model.selecting import distinct_frames, is_mixture, mix_patches, pad_clips, spread_evenly
from bvllm.model.spending import check_frames, fit, questions_per_frame, tokens_of_clips
from bvllm.model.vision_tower import (
    frame_and_patch_features,
    frame_features,
    patch_columns,
    patch_count,
    patch_features,
    tower_of,
)
from bvllm.stages.merge_frames import SimilarFrameMerging
from bvllm.stages.pipeline import select
from bvllm.stages.qformer import LearnedQueries
from bvllm.types import Budget, FrameSelection, Tokens

# Frames that the tower sees at a time: bounds its activations, whatever the video's length. Where patches are
# wanted it keeps the states of every layer, so fewer fit.
FRAMES_PER_CALL = 32
PATCH_FRAMES_PER_CALL = 8


class BVLLMPreTrainedModel(PreTrainedModel):
    """What all B-VLLM classes share: configuration, initial weights, what transformers may do with them."""

    config: BVLLMConfig
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
    def _init_weights(self, module: torch.nn.Module) -> None:
        if isinstance(module, ClockTable):
            init.zeros_(module.weight)
            return
        super()._init_weights(module)
        if isinstance(module, LearnedQueries):
            init.normal_(module.weight, mean=0.0, std=self.config.initializer_range)

    def enable_input_require_grads(self) -> None:
        """Let gradients start at the text embeddings, for adapters under activation checkpointing.

        Upstream also hooks the embeddings of every sub-model: a frozen vision tower would then build a graph
        for every frame of the video.
        """
        hook = self.get_input_embeddings().register_forward_hook(lambda _, __, out: out.requires_grad_(True))
        self._require_grads_hooks = [hook]
        self._require_grads_hook = hook


class BVLLMVisualModel(BVLLMPreTrainedModel):
    """Vision tower, frame selector, token sampler, projector and clock."""

    def __init__(self, config: BVLLMConfig) -> None:
        super().__init__(config)
        self.vision_tower = tower_of(config.vision_config).model._from_config(config.vision_config)
        self.frame_reader = build_frame_reader(config)
        self.frame_selector = build_frame_selector(config)
        self.token_sampler = build_token_sampler(config)
        self.multi_modal_projector = build_projector(config)
        self.clock = ClockEmbedding(config.text_config.hidden_size) if config.clock else None

    def train(self, mode: bool = True) -> "BVLLMVisualModel":
        """As usual, but a frozen tower stays in evaluation: what it says of a frame must not change."""
        super().train(mode)
        if self.tower_is_frozen:
            self.vision_tower.eval()
        return self

    @property
    def tower_is_frozen(self) -> bool:
        """Whether no weight of the vision tower is being trained."""
        return not any(p.requires_grad for p in self.vision_tower.parameters())

    @property
    def keeps_prefix(self) -> bool:
        """Whether patches come with the [CLS] before them, which a connector may want."""
        return isinstance(self.config.connector, LlamaVidConfig) and self.config.connector.keeps_prefix

    def encode_frames(self, pixel_values: Tensor) -> Tensor:
        """First pass: (T, 3, H, W) -> (T, C), one vector per frame; 32 frames at a time."""
        size = FRAMES_PER_CALL if self.config.frame_feature == "cls" else PATCH_FRAMES_PER_CALL
        return torch.cat([self._encode_frame_chunk(chunk) for chunk in _chunks(pixel_values, size)])

    def summarise(self, cls: Tensor, patches: Tensor) -> Tensor:
        """What the selector sees of frames, by `config.frame_feature`: (t, C) and (t, N, C) -> (t, C)."""
        match self.config.frame_feature:
            case "cls":
                return cls
            case "mean":
                return patches.mean(dim=1)
            case "max":
                return patches.amax(dim=1)
            case "qformer":
                return self.frame_reader(patches)
        width = cls.shape[-1:]  # each at its own scale would drown the other
        return (layer_norm(cls, width) + layer_norm(patches.mean(dim=1), width)) / 2

    def encode_patches(self, pixel_values: Tensor) -> Tensor:
        """Second pass: (F, 3, H, W) -> (F, N, C), the patches of `vision_feature_layer`, without [CLS].

        A connector that reads [CLS] gets it: (F, 1 + N, C).
        """
        chunks = _chunks(pixel_values, PATCH_FRAMES_PER_CALL)
        keep = self.keeps_prefix
        return torch.cat([self._patches(chunk, keep_prefix=keep) for chunk in chunks])

    def select(
        self,
        frames: list[Tensor],
        seconds: list[Tensor],
        question_ids: Tensor | None = None,
        question_mask: Tensor | None = None,
        *,
        budget: Budget | None = None,
    ) -> list[FrameSelection]:
        """Choose frames of B clips by their questions, in one call of the selector (Sec. 3.2 and 3.3).

        In training the choice is soft, by `config.choice`, and gradients run through `weights`; in
        evaluation it is the arg-max. A clip of one frame keeps it.

        Args:
            frames: B tensors (T_i, C) from `encode_frames`.
            seconds: B tensors (T_i,) presentation times.
            question_ids, question_mask: (B, Q) tokens of the Q-Former's tokenizer.
            budget: `frames` bounds the queries that may choose; the configuration's where None.
        """
        keep = (budget or self.config.budget).frames
        if self.frame_selector is None:
            everything = self.config.frame_selector == "none"
            kept = [len(t) if everything else min(keep, self.config.num_selected_frames) for t in seconds]
            return [spread_evenly(t.to(self.device), k) for t, k in zip(seconds, kept)]
        padded, mask, times = (x.to(self.device) for x in pad_clips(frames, seconds))
        ids, question_mask = self._question(question_ids), self._question(question_mask)
        logits = self.frame_selector(padded, mask, times, ids, question_mask)
        return [self._settle(logits[b, :, : len(t)], t.to(self.device), keep) for b, t in enumerate(seconds)]

    def spend(
        self,
        patches: Tensor,
        selections: list[FrameSelection],
        question_ids: Tensor | None = None,
        question_mask: Tensor | None = None,
        *,
        budget: Budget | None = None,
    ) -> BVLLMVisualOutput:
        """Turn chosen frames into visual tokens within the budget (Sec. 3.4).

        Args:
            patches: (sum F_i, N, C) one entry for each row of every selection; mixed by its weights where
                they are soft.
            selections: B choices, as `select` made them.
            question_ids, question_mask: (B, Q), one question per clip.
            budget: `tokens` bounds each clip; the configuration's where None.
        """
        budget = budget or self.config.budget
        check_frames(patches, selections)
        patches = patches.to(self.device)
        ids, mask = questions_per_frame(
            self._question(question_ids), self._question(question_mask), selections
        )
        tokens, maps = self._sample(patches, selections, ids, mask, budget)
        keep = [min(budget.tokens, self._most_tokens(s)) for s in selections]
        tokens = [fit(t, k, merge=self.config.merge_tokens) for t, k in zip(tokens, keep)]
        lengths = [len(t) for t in tokens]
        features = torch.cat([t.features for t in tokens])
        if self.config.connector is None:  # by the configuration: an adapter may wrap the module
            features = self.multi_modal_projector(features)
        if self.clock is not None:
            features = features + self.clock(torch.cat([t.seconds for t in tokens])).to(features.dtype)
        return BVLLMVisualOutput(list(features.split(lengths)), lengths, tokens, selections, maps)

    def get_video_features(
        self,
        pixel_values_videos: Tensor,
        video_num_frames: Tensor,
        video_seconds: Tensor,
        qformer_input_ids: Tensor | None = None,
        qformer_attention_mask: Tensor | None = None,
    ) -> BVLLMVisualOutput:
        """All four steps for clips whose pixels are in memory: encode, select, encode the chosen, spend.

        Args:
            pixel_values_videos: (sum T_i, 3, H, W) frames of all clips.
            video_num_frames: (B,) frames of each clip; images are clips of one frame.
            video_seconds: (sum T_i,) presentation times.
            qformer_input_ids, qformer_attention_mask: (B, Q) the question about each clip.
        """
        lengths = [int(n) for n in video_num_frames]
        if not sum(lengths) == len(pixel_values_videos) == len(video_seconds):
            raise ValueError(
                f"video_num_frames must add up to the {len(pixel_values_videos)} frames and "
                f"{len(video_seconds)} seconds given, got {lengths}: take all three from the processor"
            )
        frames = self.encode_frames(pixel_values_videos) if self.frame_selector is not None else video_seconds
        question = qformer_input_ids, qformer_attention_mask
        selections = self.select(list(frames.split(lengths)), list(video_seconds.split(lengths)), *question)
        if is_mixture(selections):
            patches = mix_patches(self.encode_patches(pixel_values_videos), lengths, selections)
        else:
            distinct, rows = distinct_frames(lengths, selections)
            patches = self.encode_patches(pixel_values_videos[distinct.to(pixel_values_videos.device)])[rows]
        return self.spend(patches, selections, *question)

    def _sample(
        self,
        patches: Tensor,
        selections: list[FrameSelection],
        ids: Tensor | None,
        mask: Tensor | None,
        budget: Budget,
    ) -> tuple[list[Tokens], list[Tensor] | None]:
        """Tokens before the budget; a connector's are as wide as the language model already."""
        bridge, tower = self.multi_modal_projector, self.config.vision_config
        # By the configuration: adapters and shards put wrappers around the module.
        if isinstance(self.config.connector, LlamaVidConfig):
            return frame_tokens(bridge, patches, selections, ids, mask, patch_count(tower))
        if isinstance(self.config.connector, VideoLlama2Config):
            frames = self.config.num_selected_frames
            return block_tokens(bridge, patches, selections, frames, patch_columns(tower)), None
        sampler = self.token_sampler
        sampled, attention = every_patch(patches) if sampler is None else sampler(patches, ids, mask)
        share = budget.per_frame if self.config.adaptive_tokens else None
        return tokens_of_clips(sampled, attention, selections, share)

    def _patches(self, pixels: Tensor, *, keep_prefix: bool) -> Tensor:
        pixels = pixels.to(self.vision_tower.device, self.vision_tower.dtype)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.tower_is_frozen):
            layer = self.config.vision_feature_layer
            return patch_features(self.vision_tower, pixels, layer, keep_prefix=keep_prefix)

    def _encode_frame_chunk(self, pixels: Tensor) -> Tensor:
        pixels = pixels.to(self.vision_tower.device, self.vision_tower.dtype)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.tower_is_frozen):
            if self.config.frame_feature == "cls":
                return frame_features(self.vision_tower, pixels)
            both = frame_and_patch_features(self.vision_tower, pixels, self.config.vision_feature_layer)
        return self.summarise(*both)

    def _settle(self, logits: Tensor, seconds: Tensor, keep: int) -> FrameSelection:
        merge = self.config.merge_frames or len(seconds) == 1  # a picture is one frame, however many look
        return select(
            logits,
            seconds,
            keep=keep,
            merging=SimilarFrameMerging(self.config.gamma) if merge else None,
            mode=self.config.choice if self.training else "hard",
            tau=self.config.tau,
            certainty=self.config.certainty,
        )

    def _most_tokens(self, selection: FrameSelection) -> int:
        """Tokens the prompt can hold: soft rows of a short clip can outnumber its frames."""
        slots = self.config.slots
        return slots.rows(selection.weights.shape[1]) * slots.tokens_per_frame

    def _question(self, x: Tensor | None) -> Tensor | None:
        return None if x is None else x.to(self.device)


def _chunks(pixels: Tensor, size: int) -> tuple[Tensor, ...]:
    if pixels.ndim != 4 or not len(pixels):
        raise ValueError(
            f"pixel_values must be (frames, 3, height, width) of at least one frame, got shape "
            f"{tuple(pixels.shape)}: put the frames of all clips into one tensor"
        )
    return pixels.split(size)
