"""Turn a chat into a Dynamic-VLM's inputs: a prompt with timed frames, pixels, every frame's grid."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase
from transformers.processing_utils import ProcessorMixin

from bvllm.model.dynamic.configuration_dynamic import ALLOCATIONS, DynamicVLMConfig
from bvllm.model.dynamic.times import write_frames
from bvllm.model.processing_bvllm import (
    DEFAULT_CHAT_TEMPLATE,
    VIDEO_TOKEN,
    BVLLMProcessor,
    Prompts,
    placeholder_id,
)
from bvllm.model.video_processing_bvllm import BVLLMVideoProcessor
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

    def plan(self, frames: Sequence[int], tokens: int | None = None) -> PlannedClips:
        """Share a prompt's budget among the frames of its clips.

        Args:
            frames: of each clip.
            tokens: of the prompt; the processor's own budget where None.

        Example: a video of 300 frames and a picture, at 12 000 tokens and 256 frames a video, keep 257
            frames.
        """
        budget = tokens or self.budget_tokens
        shares = equal_shares([min(count, self.max_frames) for count in frames], budget)
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

    def prompt_of_frames(
        self, chat: list[Message], counts: Sequence[int], seconds: Sequence[float]
    ) -> dict[str, Tensor]:
        """The ids and mask of one chat with one clip whose frames are visual tokens already."""
        text = self.apply_chat_template(chat, add_generation_prompt=True)
        prompts = Prompts([str(text)], add_special_tokens=False, padding=True, return_tensors="pt")
        return prompts.tokenize_written(self.tokenizer, self.video_token, [self.write_clip(counts, seconds)])

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
        written = self._written(prompts, clips)
        if not clips:
            return prompts.tokenize(self.tokenizer, self.video_token, [])
        if counts is not None:
            texts = [count if isinstance(count, str) else self.write_clip([count], [0.0]) for count in counts]
            return prompts.tokenize_written(self.tokenizer, self.video_token, texts)
        frames = [int(count) for count in seen["video_num_frames"]]
        starts = [sum(frames[:k]) for k in range(len(frames))]
        plans, first = [], 0
        for count in written:
            plans.append(self.plan(frames[first : first + count]))
            first += count
        kept = [places for plan in plans for places in plan.kept]
        grids = [of_clip for plan in plans for of_clip in plan.grids]
        rows = torch.cat([places + start for places, start in zip(kept, starts)])
        seconds = seen["video_seconds"][rows]
        times = seconds.split([len(places) for places in kept])
        text = [
            self.write_clip([grid.cells for grid in of_clip], row.tolist())
            for of_clip, row in zip(grids, times)
        ]
        return prompts.tokenize_written(self.tokenizer, self.video_token, text) | {
            "pixel_values_videos": seen["pixel_values_videos"][rows],
            "video_grids": torch.tensor([grid for of_clip in grids for grid in of_clip]),
            "video_num_frames": torch.tensor([len(places) for places in kept]),
            "video_seconds": seconds,
        }
