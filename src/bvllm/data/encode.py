"""From a row to what a batch is made of: media read, text tokenized, labels masked."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bvllm.data.dialogue import Dialogue
from bvllm.data.masks import Learn, check_template, tokenize
from bvllm.data.media import read_media
from bvllm.model import BVLLMProcessor
from bvllm.video import FrameChunk, Limits, SamplingPlan


@dataclass(frozen=True)
class Example:
    """One row, ready for a batch.

    Shapes: `input_ids`, `labels` (S,) int64; `pixels` (sum T_i, 3, h, w) uint8; `seconds` (sum T_i,) float64;
        `question_ids` (Q,) int64.

    Attributes:
        frames: T_i of each clip; () for text alone.
        budget: most visual tokens of a clip that the placeholders were written for; None is the model's own.
    """

    input_ids: Tensor
    labels: Tensor
    pixels: Tensor
    seconds: Tensor
    frames: tuple[int, ...]
    question_ids: Tensor
    budget: int | None = None


class Encoder:
    """Reads and tokenizes rows with a processor, as inference does.

    Args:
        processor: the model's.
        max_tokens: of a sequence, placeholders included; see `masks.tokenize` for what is cut.
        max_frames: of a video; a longer one is thinned evenly. None for any number.
        learn: "all" answers of a row, or the "last", whose question chose the frames.
        limits: what reading one file may cost.

    Errors:
        ValueError for a chat template without generation marks; BadRow from calling it.
    """

    def __init__(
        self,
        processor: BVLLMProcessor,
        *,
        max_tokens: int | None = None,
        max_frames: int | None = None,
        learn: Learn = "all",
        limits: Limits | None = None,
    ) -> None:
        check_template(processor)
        if max_tokens is not None and max_tokens < 1:
            raise ValueError(f"max_tokens must be at least 1, got {max_tokens}: use None for any number")
        if learn not in ("all", "last"):
            raise ValueError(f"learn must be 'all' or 'last', got {learn!r}: choose one of them")
        self.processor = processor
        self.max_tokens, self.learn, self.limits = max_tokens, learn, limits
        reader = processor.video_processor
        self.plan = SamplingPlan(reader.fps, max_frames or reader.max_frames)
        self.size = (reader.size["height"], reader.size["width"])

    def __call__(self, dialogue: Dialogue, budget: int | None = None) -> Example:
        """Encode one row.

        Args:
            dialogue: the row.
            budget: most visual tokens per clip; the processor's own where None.

        Errors:
            BadRow for anything wrong with its media or its length.
        """
        slots = self.processor.slots
        slots = slots if budget is None else replace(slots, budget_tokens=budget)
        clips = [
            read_media(media, dialogue.where, self.plan, self.size, self.limits) for media in dialogue.media
        ]
        left, text = tokenize(
            dialogue,
            [slots.count(len(clip)) for clip in clips],
            self.processor,
            max_tokens=self.max_tokens,
            learn=self.learn,
        )
        clips = clips[: len(left.media)]
        return Example(
            text.input_ids,
            text.labels,
            torch.cat([clip.pixels for clip in clips]) if clips else self._no_pixels(),
            _seconds(clips),
            tuple(len(clip) for clip in clips),
            text.question_ids,
            budget,
        )

    def _no_pixels(self) -> Tensor:
        return torch.zeros(0, 3, *self.size, dtype=torch.uint8)


def _seconds(clips: list[FrameChunk]) -> Tensor:
    return torch.cat([clip.seconds for clip in clips]) if clips else torch.zeros(0, dtype=torch.float64)
