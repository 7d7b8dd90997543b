"""Turn a chat into a Dynamic-VLM's inputs: a prompt with timed frames, pixels, every frame's grid."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import BatchFeature, PreTrainedTokenizerBase
from transformers.processing_utils import ProcessorMixin

from bvllm.model.dynamic.configuration_dynamic import ALLOCATIONS, DynamicVLMConfig
from bvllm.model.dynamic.times import write_frames
from bvllm.model.processing_bvllm import (
    DEFAULT_CHAT_TEMPLATE,
    VIDEO_TOKEN,
    BVLLMProcessor,
    placeholder_id,
)
from bvllm.model.prompts import Prompts
from bvllm.model.video_processing_bvllm import BVLLMVideoProcessor, VideoSource
from bvllm.stages.frame_grids import Grid
from bvllm.stages.merge_tokens import equal_shares
from bvllm.stages.pipeline import thin_evenly
from bvllm.video.chat_parts import Message

SYSTEM = "You are a helpful visual assistant."
# ChatML with the paper's system prompt where a chat brings none. What ends a clip's line is written with its
# frames.
DYNAMIC_CHAT_TEMPLATE = (
    "{%- if messages and messages[0]['role'] != 'system' -%}"
    "{{ '<|im_start|>system\\n" + SYSTEM + "<|im_end|>\\n' }}"
    "{%- endif -%}" + DEFAULT_CHAT_TEMPLATE.replace("{{ video_token + '\\n' }}", "{{ video_token }}")
)


class PlannedClips(NamedTuple):
    """The frames that stay of the clips of one prompt, and the grid of each.

    Attributes:
        kept: for each clip, (n,) places of its frames, ascending.
        grids: for each clip, of each kept frame.
    """

    kept: list[Tensor]
    grids: list[list[Grid]]


class DynamicVLMProcessor(BVLLMProcessor):
    """Prompts, pixels and grids for a Dynamic-VLM.

    Pictures are clips of one frame and share the videos' placeholder. All clips of one prompt share its
    budget, frame by frame; a video's frames stand behind their seconds.

    Args:
        video_processor: pixels; thins what is longer than its `max_frames`.
        tokenizer: the language model's; it must know `video_token` as one token.
        chat_template: Jinja that writes `video_token` for each video or image part, with generation marks
            around what the assistant says. ChatML with the paper's system prompt where None.
        video_token: the placeholder.
        native_grid: rows and columns of the tower's patches.
        budget_tokens, max_frames, allocation, timestamps: as in `DynamicVLMConfig`; may be changed at any
            time.

    Outputs: `input_ids` and `attention_mask` (padded on the left), `pixel_values_videos`, `video_grids` (F,
        2),
    `video_num_frames`, `video_seconds`.
    """

    tokenizers = ("tokenizer",)

    def __init__(
        self,
        video_processor: BVLLMVideoProcessor,
        tokenizer: PreTrainedTokenizerBase,
        chat_template: str | None = None,
        video_token: str = VIDEO_TOKEN,
        native_grid: Sequence[int] = (24, 24),
        budget_tokens: int = 12_000,
        max_frames: int = 256,
        allocation: str = "mixed",
        timestamps: bool = True,
    ) -> None:
        self.video_token, self.video_token_id = video_token, placeholder_id(tokenizer, video_token)
        self.native_grid, self.budget_tokens = list(native_grid), budget_tokens
        self.max_frames, self.allocation, self.timestamps = max_frames, allocation, timestamps
        template = chat_template or DYNAMIC_CHAT_TEMPLATE
        ProcessorMixin.__init__(self, video_processor, tokenizer, chat_template=template)

    @classmethod
    def for_model(  # type: ignore[override]  # another model
        cls,
        config: DynamicVLMConfig,
        tokenizer: PreTrainedTokenizerBase,
        *,
        chat_template: str | None = None,
        fps: float | None = 1.0,
    ) -> "DynamicVLMProcessor":
        """The processor that shares tokens as the model does, for its tower's pixels."""
        return cls(
            BVLLMVideoProcessor.for_tower(config.vision_config, fps=fps),
            tokenizer,
            chat_template,
            tokenizer.convert_ids_to_tokens(config.video_token_id),
            config.native_grid,
            config.budget_tokens,
            config.max_frames,
            config.allocation,
            config.timestamps,
        )

    @property
    def model_input_names(self) -> list[str]:
        """Everything that the model takes from here."""
        return ["input_ids", "attention_mask", *self.video_processor.model_input_names, "video_grids"]

    def plan(self, frames: Sequence[int], tokens: int | None = None, most: int | None = None) -> PlannedClips:
        """Share a prompt's budget among the frames of its clips.

        Args:
            frames: of each clip.
            tokens: of the prompt; the processor's own budget where None.
            most: frames that are kept of a clip; never more than `max_frames`.

        Example: a video of 300 frames and a picture, at 12 000 tokens and 256 frames a video, keep 257
            frames.
        """
        budget = tokens or self.budget_tokens
        most = min(most or self.max_frames, self.max_frames)
        shares = equal_shares([min(count, most) for count in frames], budget)
        kept = [
            thin_evenly(count, share).anchor if share else torch.zeros(0, dtype=torch.long)
            for count, share in zip(frames, shares)
        ]
        native = Grid(*self.native_grid)
        whole = ALLOCATIONS[self.allocation](sum(shares), budget, native) if shares else []
        starts = [sum(shares[:k]) for k in range(len(shares))]
        return PlannedClips(kept, [whole[start : start + share] for start, share in zip(starts, shares)])

    def write_clip(self, counts: Sequence[int], seconds: Sequence[float]) -> str:
        """What stands for a clip in a prompt, whose frames have so many tokens.

        One frame at the start may be a picture, and has no second before it; one that was chosen later has.
        """
        timed = self.timestamps and (len(counts) > 1 or any(second > 0 for second in seconds))
        return write_frames(self.video_token, counts, seconds if timed else None)

    def prompt_of_clips(
        self, chat: list[Message], clips: Sequence[tuple[Sequence[int], Sequence[float]]]
    ) -> dict[str, Tensor]:
        """The ids and mask of one chat whose clips are visual tokens already.

        Args:
            clips: of each, how many tokens every frame has, and when it is shown.
        """
        text = self.apply_chat_template(chat, add_generation_prompt=True)
        prompts = Prompts([str(text)], add_special_tokens=False, padding=True, return_tensors="pt")
        return prompts.tokenize_written(
            self.tokenizer, self.video_token, [self.write_clip(*clip) for clip in clips]
        )

    def __call__(self, *args: Any, budget_tokens: int | None = None, **settings: Any) -> BatchFeature:
        """As `BVLLMProcessor`'s; `budget_tokens` is of these prompts, the processor's own where None."""
        return super(DynamicVLMProcessor, self._at(budget_tokens)).__call__(*args, **settings)

    def apply_chat_template(
        self, *args: Any, budget_tokens: int | None = None, **settings: Any
    ) -> str | list[str] | BatchFeature | Tensor:
        """As `BVLLMProcessor`'s; `budget_tokens` is of these chats, the processor's own where None."""
        return super(DynamicVLMProcessor, self._at(budget_tokens)).apply_chat_template(*args, **settings)

    def _at(self, budget_tokens: int | None) -> "DynamicVLMProcessor":
        """This processor, at another budget where one is given."""
        if budget_tokens is None:
            return self
        if budget_tokens < 1:
            raise ValueError(f"budget_tokens must be at least 1, got {budget_tokens}: every clip needs one")
        other = copy.copy(self)
        other.budget_tokens = budget_tokens
        return other

    def question_ids(self, questions: list[str]) -> dict[str, Tensor]:
        """Nothing: no part of this model reads a question but the language model."""
        return {}

    def _assemble(
        self,
        prompts: Prompts,
        clips: int,
        questions: list[str] | None,
        seen: Mapping[str, Tensor],
        counts: list[int] | list[str] | None = None,
    ) -> dict[str, Any]:
        """Prompts, pixels and grids in one dictionary, checked against each other."""
        self._written(prompts, clips)
        if not clips:
            return prompts.tokenize(self.tokenizer, self.video_token, [])
        if counts is not None:
            texts = [count if isinstance(count, str) else self.write_clip([count], [0.0]) for count in counts]
            return prompts.tokenize_written(self.tokenizer, self.video_token, texts)
        frames = seen["video_num_frames"].tolist()
        cells, times = seen["video_grids"].prod(dim=1).split(frames), seen["video_seconds"].split(frames)
        text = [self.write_clip(count.tolist(), row.tolist()) for count, row in zip(cells, times)]
        return prompts.tokenize_written(self.tokenizer, self.video_token, text) | dict(seen)

    def _pixels(
        self, sources: list[VideoSource], reading: dict[str, Any], written: list[int]
    ) -> Mapping[str, Tensor]:
        """Pixels, times and grids of the frames that stay; others are never normalised.

        Of a file at most `max_frames` are decoded to pixels, and where no clip shares the budget at most one
        for each token, so that memory follows the budget and not the video.
        """
        clips = self.video_processor.read_all(sources, **self._capped(reading, written))
        plans, first = [], 0
        for count in written:
            plans.append(self.plan([len(pixels) for pixels, _ in clips[first : first + count]]))
            first += count
        kept = [places for plan in plans for places in plan.kept]
        grids = [grid for plan in plans for of_clip in plan.grids for grid in of_clip]
        return {
            "pixel_values_videos": self.video_processor.normalise_clips(
                [pixels[places] for (pixels, _), places in zip(clips, kept)]
            ),
            "video_grids": torch.tensor(grids),
            "video_num_frames": torch.tensor([len(places) for places in kept]),
            "video_seconds": torch.cat([seconds[places] for (_, seconds), places in zip(clips, kept)]),
        }

    def _capped(self, reading: dict[str, Any], written: list[int]) -> dict[str, Any]:
        """How to read, with no more frames of a file than can stay."""
        if reading.get("num_frames") is not None:
            return reading
        room = min(self.max_frames, self.budget_tokens) if max(written) <= 1 else self.max_frames
        given = reading.get("max_frames") or self.video_processor.max_frames
        return reading | {"max_frames": min(given or room, room)}
