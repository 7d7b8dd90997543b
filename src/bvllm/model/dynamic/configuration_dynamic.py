"""Configure a Dynamic-VLM: tower, compressor, language model, and how tokens are shared among frames."""

import copy
from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from bvllm.model.vision_tower import FINAL, patch_columns, patch_count, tower_of
from bvllm.stages.compressors import COMPRESSORS
from bvllm.stages.frame_grids import Grid, frames_that_fit, released_grids, share_grids
from bvllm.stages.places import check_place_channels
from bvllm.types import Budget

ALLOCATIONS = {"mixed": share_grids, "released": released_grids}


@strict
class DynamicVLMConfig(PreTrainedConfig):
    """Configuration of a Dynamic-VLM: every frame stays, and the length of a video decides its tokens.

    Args:
        vision_config: one of the towers of `bvllm.model.vision_tower.TOWERS`; CLIP where None.
        text_config: any decoder that `AutoModelForCausalLM` knows; Qwen2 where None.
        compressor: "pool" (the paper's choice), "merge", "prune" or "queries".
        allocation: "mixed" spends at least 95 % of what grids can spend; "released" is the authors' rule, one
            square for all frames.
        budget_tokens: N_max, visual tokens of one prompt: of its video, or of all its pictures together.
        max_frames: the most frames of one video; of a longer one they are thinned evenly.
        vision_feature_layer: hidden state of the tower that gives the patches, or "final".
        timestamps: write the second of every frame of a video in front of its tokens.
        clock: add the frame's time to its tokens, too; ours, for small language models.
        place_channels: how many features of its place are added to a patch before it is compressed (see
            `PatchPlaces`), a multiple of 4; 0 adds none. Ours, for towers that do not keep places.
        video_token_id: the placeholder in a prompt. The default is the first id after Qwen2's own.
        image_token_id: the same as the video's.
        projector_hidden_act: between the projector's two layers.
        initializer_range: of new weights.

    Raises:
        ValueError: an option is unknown, or a number is out of range.

    Source: Dynamic-VLM (arXiv 2412.09530), from the note: CLIP ViT-L/336, pooling, a projector of two layers
        with GELU, Qwen2.5; N_max of 12 000 (7B), 256 frames at most. `vision_feature_layer` is not told
        there: LLaVA's.

    Example:
        >>> DynamicVLMConfig(budget_tokens=512).frame_grids(1)
        [Grid(rows=7, columns=7)]
    """

    model_type = "dynamic_vlm"
    sub_configs = {"vision_config": AutoConfig, "text_config": AutoConfig}

    vision_config: Any = None
    text_config: Any = None
    compressor: str = "pool"
    allocation: str = "mixed"
    budget_tokens: int = 12_000
    max_frames: int = 256
    vision_feature_layer: int | str = -2
    timestamps: bool = True
    clock: bool = False
    place_channels: int = 0
    video_token_id: int = 151665
    image_token_id: int | None = None
    projector_hidden_act: str = "gelu"
    initializer_range: float = 0.02
    tie_word_embeddings: bool = False

    def __post_init__(self, **kwargs):
        self.vision_config = _sub_config(self.vision_config, "clip_vision_model")
        self.text_config = _sub_config(self.text_config, "qwen2")
        tower_of(self.vision_config)
        for name, known in (("compressor", tuple(COMPRESSORS)), ("allocation", tuple(ALLOCATIONS))):
            if getattr(self, name) not in known:
                raise ValueError(
                    f"{name} must be one of {', '.join(known)}, got {getattr(self, name)!r}: use one of these"
                )
        for name in ("budget_tokens", "max_frames"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}: raise it")
        check_place_channels(self.place_channels)
        self._check_layer()
        if self.image_token_id is None:
            self.image_token_id = self.video_token_id
        self.tie_word_embeddings = self.tie_word_embeddings or bool(self.text_config.tie_word_embeddings)
        super().__post_init__(**kwargs)

    def _check_layer(self) -> None:
        states, layer = self.vision_config.num_hidden_layers + 1, self.vision_feature_layer
        fits = layer == FINAL if isinstance(layer, str) else -states <= layer < states
        if not fits:
            raise ValueError(
                f'vision_feature_layer must lie in {-states}..{states - 1} or be "{FINAL}", got {layer!r}: '
                "-2 is the last hidden state but one"
            )

    @property
    def native_grid(self) -> Grid:
        """Rows and columns of the tower's patches."""
        columns = patch_columns(self.vision_config)
        return Grid(patch_count(self.vision_config) // columns, columns)

    @property
    def budget(self) -> Budget:
        """What one clip may cost where the caller names no budget of their own."""
        return Budget(tokens=self.budget_tokens, frames=self.max_frames)

    def frames_kept(self, frames: int, budget: Budget | None = None) -> int:
        """How many of so many frames a prompt has room for."""
        asked = budget or self.budget
        return frames_that_fit(frames, asked.tokens, min(asked.frames, self.max_frames))

    def frame_grids(self, frames: int, tokens: int | None = None) -> list[Grid]:
        """The grid of each of so many frames within a budget, the configuration's where None.

        Raises:
            ValueError: frames outnumber tokens.
        """
        return ALLOCATIONS[self.allocation](frames, tokens or self.budget_tokens, self.native_grid)


def _sub_config(given: dict | PreTrainedConfig | None, model_type: str) -> PreTrainedConfig:
    """A configuration of its own: the caller's stays unchanged."""
    if isinstance(given, PreTrainedConfig):
        return copy.deepcopy(given)
    settings = dict(given or {})
    return CONFIG_MAPPING[settings.pop("model_type", model_type)](**settings)
