"""The visual side of a B-VLLM: encode, select, reduce, and the learned parts (arXiv 2412.09919, Fig. 2).

Two passes, so that memory does not grow with the video. The first keeps one vector per frame; with the
arg-max the rows of S are one-hot, so duplicates are known before a patch feature exists, and the second
pass encodes the distinct chosen frames only.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor
from transformers import initialization as init

from bvllm.methods.names import reading_of
from bvllm.model.answering import VideoPreTrainedModel
from bvllm.model.clock import ClockEmbedding, clock_of
from bvllm.model.configuration_bvllm import BVLLMConfig
from bvllm.model.connectors import LlamaVidConfig
from bvllm.model.outputs import BVLLMVisualOutput
from bvllm.model.slot_methods import Trained, build_pipeline
from bvllm.model.tower_attention import TowerReader
from bvllm.model.vision_tower import (
    frame_and_patch_features,
    frame_features,
    patch_columns,
    patch_count,
    patch_features,
    tower_of,
)
from bvllm.model.visual_parts import (
    FRAME_FEATURES,
    build_frame_reader,
    build_frame_selector,
    build_places,
    build_projector,
    build_token_sampler,
)
from bvllm.stages.patch_signals import PatchSignals, signals_of_rows
from bvllm.stages.pipeline import Pipeline, frames_needed, mixed
from bvllm.stages.qformer import LearnedQueries
from bvllm.stages.reading import Reading
from bvllm.types import Budget, Clip, FrameSelection, Questions, Signals

# Frames that the tower sees at a time: bounds its activations, whatever the video's length. Where patches are
# wanted it keeps the states of every layer, so fewer fit.
FRAMES_PER_CALL = 32
PATCH_FRAMES_PER_CALL = 8


class BVLLMPreTrainedModel(VideoPreTrainedModel):
    """What all B-VLLM classes share: configuration, and queries that are not all alike at first."""

    config: BVLLMConfig

    @torch.no_grad()
    def _init_weights(self, module: torch.nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, LearnedQueries):
            init.normal_(module.weight, mean=0.0, std=self.config.initializer_range)


class BVLLMVisualModel(BVLLMPreTrainedModel):
    """Vision tower, frame selector, token sampler, projector, and what adds places and times."""

    def __init__(self, config: BVLLMConfig) -> None:
        super().__init__(config)
        self.vision_tower = tower_of(config.vision_config).model._from_config(config.vision_config)
        self.frame_reader = build_frame_reader(config)
        self.frame_selector = build_frame_selector(config)
        self.places = build_places(config.vision_config, config.place_channels)
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
        connector = self.config.connector
        reads = isinstance(connector, LlamaVidConfig) and connector.keeps_prefix
        return reads and self.config.connector_samples

    def encode_frames(self, pixel_values: Tensor) -> Tensor:
        """First pass: (T, 3, H, W) -> (T, C), one vector per frame; 32 frames at a time."""
        size = FRAMES_PER_CALL if self.config.frame_feature == "cls" else PATCH_FRAMES_PER_CALL
        return torch.cat([self._encode_frame_chunk(chunk) for chunk in _chunks(pixel_values, size)])

    def summarise(self, cls: Tensor, patches: Tensor) -> Tensor:
        """What the selector sees of frames, by `config.frame_feature`: (t, C) and (t, N, C) -> (t, C)."""
        if self.frame_reader is not None:
            return self.frame_reader(patches)
        return FRAME_FEATURES[self.config.frame_feature](cls, patches)

    def encode_patches(self, pixel_values: Tensor) -> Tensor:
        """Second pass: (F, 3, H, W) -> (F, N, C), the patches of `vision_feature_layer`, without [CLS].

        A connector that reads [CLS] gets it: (F, 1 + N, C).
        """
        chunks = _chunks(pixel_values, PATCH_FRAMES_PER_CALL)
        keep = self.keeps_prefix
        return torch.cat([self._patches(chunk, keep_prefix=keep) for chunk in chunks])

    def read_patches(self, pixel_values: Tensor, reading: Reading) -> tuple[Tensor, PatchSignals]:
        """As `encode_patches`, and what the tower attends to meanwhile; ValueError where it gives no such."""
        if not reading:
            return self.encode_patches(pixel_values), PatchSignals()
        layer, keep, tower = self.config.vision_feature_layer, self.keeps_prefix, self.vision_tower.config
        reader = TowerReader(self.vision_tower, reading, layer if isinstance(layer, int) else -1)
        run, chunks = partial(self._patches, keep_prefix=keep), _chunks(pixel_values, PATCH_FRAMES_PER_CALL)
        return reader.run(run, chunks, 0 if keep else tower_of(tower).prefix(tower))

    def tell_places(self, patches: Tensor) -> Tensor:
        """(F, N, C) -> (F, N, C), each patch with its place where the configuration asks for it."""
        return patches if self.places is None else self.places(patches)

    def pipeline(self, config: BVLLMConfig | None = None) -> Pipeline:
        """The four slots as a configuration fills them, with this model's trained parts.

        Args:
            config: of `config.with_methods`; the model's own where None.

        Raises:
            ValueError: a slot asks for a trained part that this model does not have.
        """
        return build_pipeline(
            config or self.config,
            self.config,
            Trained(self.frame_selector, self.token_sampler, self.multi_modal_projector, self.training),
        )

    def select(
        self,
        frames: list[Tensor],
        seconds: list[Tensor],
        question_ids: Tensor | None = None,
        question_mask: Tensor | None = None,
        *,
        budget: Budget | None = None,
        config: BVLLMConfig | None = None,
        seed: int = 0,
    ) -> list[FrameSelection]:
        """Choose frames of B clips by their questions, in one call of the selector (Sec. 3.2 and 3.3).

        In training the choice is soft, by `config.choice`, and gradients run through `weights`; in
        evaluation it is the arg-max. A clip of one frame keeps it.

        Args:
            frames: B tensors (T_i, C) from `encode_frames`.
            seconds: B tensors (T_i,) presentation times.
            question_ids, question_mask: (B, Q) tokens of the Q-Former's tokenizer.
            budget: `frames` bounds the queries that may choose; the configuration's where None.
            config: other methods in the slots, by `config.with_methods`.
            seed: of methods that draw at random.
        """
        config = config or self.config
        asked = budget or config.budget
        if len(frames) != len(seconds):
            raise ValueError(
                f"seconds must be given for {len(frames)} clips, got {len(seconds)}: one row each"
            )
        for clip, times in zip(frames, seconds):
            if not len(clip) or times.shape != clip.shape[:1]:
                raise ValueError(
                    f"seconds must be one time for each frame of a clip, got {tuple(times.shape)} "
                    f"for {len(clip)} frames: sample at least one frame"
                )
        clips = [Clip(_rows(f).to(self.device), t.to(self.device)) for f, t in zip(frames, seconds)]
        return self.pipeline(config).choose_frames(
            clips,
            self._questions(question_ids, question_mask),
            budget=Budget(asked.tokens, min(asked.frames, config.most_frames)),
            signals=[Signals(seed=seed)] * len(clips),
        )

    def reduce_to_budget(
        self,
        patches: Tensor,
        selections: list[FrameSelection],
        question_ids: Tensor | None = None,
        question_mask: Tensor | None = None,
        *,
        budget: Budget | None = None,
        config: BVLLMConfig | None = None,
        seed: int = 0,
        seen: Sequence[PatchSignals] | None = None,
    ) -> BVLLMVisualOutput:
        """Turn chosen frames into visual tokens within the budget (Sec. 3.4).

        Args:
            patches: (sum F_i, N, C) one entry for each row of every selection; mixed by its weights where
                they are soft.
            selections: B choices, as `select` made them.
            question_ids, question_mask: (B, Q), one question per clip.
            budget: `tokens` bounds each clip; the configuration's where None.
            config, seed: see `select`.
            seen: B times what `read_patches` read of the distinct frames of a clip.
        """
        config = config or self.config
        patches = self.tell_places(patches.to(self.device))
        tower = config.vision_config
        columns = patch_columns(tower)
        signals = Signals(grid=(patch_count(tower) // columns, columns), seed=seed)
        known: Sequence[PatchSignals | None] = seen or [None] * len(selections)
        budget = budget or config.budget
        slots = replace(config.placeholders, budget_tokens=budget.tokens)
        sampled = self.pipeline(config).reduce_to_budget(
            patches,
            selections,
            self._questions(question_ids, question_mask),
            budget=budget,
            # What the prompt can hold: soft rows of a short clip can outnumber its frames.
            most=[slots.count(s.weights.shape[1]) for s in selections],
            signals=[signals_of_rows(*k, signals) for k in zip(known, selections)],
        )
        tokens = sampled.tokens
        lengths = [len(t) for t in tokens]
        features = torch.cat([t.features for t in tokens])
        if not config.connector_samples:  # by the configuration: an adapter may wrap the module
            features = self.multi_modal_projector(features)
        if self.clock is not None:
            times = [
                self.clock(t.seconds)
                if config.connector_samples
                else clock_of(self.clock, t, s, patches.shape[1])
                for t, s in zip(tokens, selections)
            ]
            features = features + torch.cat(times).to(features.dtype)
        return BVLLMVisualOutput(
            list(features.split(lengths)), lengths, tokens, selections, sampled.attention, signals.grid
        )

    spend = reduce_to_budget  # the name until 0.1, for one release

    def get_video_features(
        self,
        pixel_values_videos: Tensor,
        video_num_frames: Tensor | None,
        video_seconds: Tensor | None,
        qformer_input_ids: Tensor | None = None,
        qformer_attention_mask: Tensor | None = None,
        video_budget: Tensor | None = None,
    ) -> BVLLMVisualOutput:
        """All four steps for clips whose pixels are in memory: encode, select, encode the chosen, spend.

        Args:
            pixel_values_videos: (sum T_i, 3, H, W) frames of all clips.
            video_num_frames: (B,) frames of each clip; images are clips of one frame.
            video_seconds: (sum T_i,) presentation times.
            qformer_input_ids, qformer_attention_mask: (B, Q) the question about each clip.
            video_budget: () the most visual tokens of each clip; the configuration's where None.
        """
        if video_num_frames is None or video_seconds is None:
            raise ValueError(
                "video_num_frames and video_seconds must be given with pixel_values_videos, got None: "
                "pass on all that the processor gave"
            )
        if video_seconds.dtype in (torch.bfloat16, torch.float16):
            raise ValueError(
                f"video_seconds must be float32 or float64, got {video_seconds.dtype}: cast "
                "with the `.to` of what the processor gave, or pixels alone"
            )
        lengths = [int(n) for n in video_num_frames]
        if not sum(lengths) == len(pixel_values_videos) == len(video_seconds):
            raise ValueError(
                f"video_num_frames must add up to the {len(pixel_values_videos)} frames and "
                f"{len(video_seconds)} seconds given, got {lengths}: take all three from the processor"
            )
        own = self.config.budget
        budget = own if video_budget is None else Budget(int(video_budget), own.frames)
        question = qformer_input_ids, qformer_attention_mask
        needed = self.pipeline().needs_features
        frames = self.encode_frames(pixel_values_videos) if needed else video_seconds[:, None]
        selections = self.select(
            list(frames.split(lengths)), list(video_seconds.split(lengths)), *question, budget=budget
        )
        patches, seen = self._chosen_patches(pixel_values_videos, lengths, selections)
        return self.reduce_to_budget(patches, selections, *question, budget=budget, seen=seen)

    def _chosen_patches(
        self, pixels: Tensor, lengths: list[int], selections: list[FrameSelection]
    ) -> tuple[Tensor, list[PatchSignals]]:
        """Encode the frames that any row stands on, those of all clips together: (sum F_i, N, C)."""
        starts = [sum(lengths[:k]) for k in range(len(lengths))]
        needed = [frames_needed(selection) + start for selection, start in zip(selections, starts)]
        shown, counts = pixels[torch.cat(needed).to(pixels.device)], [len(frames) for frames in needed]
        encoded, seen = self.read_patches(shown, reading_of(self.config.token_methods))
        rows = [mixed(partial(_same, part), s) for part, s in zip(encoded.split(counts), selections)]
        return torch.cat(rows), seen.of_clips(counts)

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

    def _questions(self, ids: Tensor | None, mask: Tensor | None) -> Questions | None:
        if ids is None:
            return None
        ids = ids.to(self.device)
        return Questions(ids, torch.ones_like(ids) if mask is None else mask.to(self.device))


def _same(patches: Tensor, _: Tensor) -> Tensor:
    """Patches that were encoded already, for `mixed`."""
    return patches


def _rows(features: Tensor) -> Tensor:
    """(T, C) features; methods that look at none may be given times instead."""
    return features if features.ndim == 2 else features[:, None]


def _chunks(pixels: Tensor, size: int) -> tuple[Tensor, ...]:
    if pixels.ndim != 4 or not len(pixels):
        raise ValueError(
            f"pixel_values must be (frames, 3, height, width) of at least one frame, got shape "
            f"{tuple(pixels.shape)}: put the frames of all clips into one tensor"
        )
    return pixels.split(size)
