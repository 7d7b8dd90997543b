"""Collate examples into one batch of model inputs."""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from bvllm.data.encode import IGNORED, Example
from bvllm.model import BVLLMProcessor
from bvllm.model.dynamic import DynamicVLMProcessor


class Collator:
    """Pads sequences on the left and puts the clips of all rows into one tensor, as the processor does.

    Rows of text alone may stand beside others; a batch of nothing else has no visual inputs at all.

    Args:
        processor: the model's; it knows the padding and how pixels are normalised.

    Outputs: `input_ids`, `attention_mask`, `labels` (B, S), and where there are clips `pixel_values_videos`,
    `video_num_frames`, `video_seconds`, `qformer_input_ids`, `qformer_attention_mask`, and `video_budget`
    where the rows were written for another budget than the model's own.

    Raises:
        ValueError: there is no row, or rows of one batch were written for different budgets.
    """

    def __init__(self, processor: BVLLMProcessor) -> None:
        self.processor = processor
        self.padding = _padding_id(processor.tokenizer, "tokenizer")
        self.compresses = isinstance(processor, DynamicVLMProcessor)
        if not self.compresses:
            self.question_padding = _padding_id(processor.qformer_tokenizer, "qformer_tokenizer")
            self.question_left = processor.qformer_tokenizer.padding_side == "left"

    def __call__(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        """Make the batch."""
        if not examples:
            raise ValueError("a batch must have at least 1 row, got 0: raise the batch size")
        ids = [example.input_ids for example in examples]
        batch = {
            "input_ids": pad(ids, self.padding, left=True),
            "attention_mask": pad([torch.ones_like(row) for row in ids], 0, left=True),
            "labels": pad([example.labels for example in examples], IGNORED, left=True),
        }
        budgets = {example.budget for example in examples}
        if len(budgets) > 1:
            raise ValueError(
                f"rows of one batch must share a budget, got {sorted(map(str, budgets))}: "
                "draw one for each step"
            )
        [budget] = budgets
        if budget is not None:
            batch["video_budget"] = torch.tensor(budget)
        frames = [count for example in examples for count in example.frames]
        if not frames:
            return batch
        pixels = torch.cat([example.pixels for example in examples])
        batch |= {
            "pixel_values_videos": self.processor.video_processor.normalise(pixels),
            "video_num_frames": torch.tensor(frames),
            "video_seconds": torch.cat([example.seconds for example in examples]),
        }
        if self.compresses:
            return batch | {"video_grids": torch.tensor([grid for one in examples for grid in one.grids])}
        asked = [example.question_ids for example in examples for _ in example.frames]
        left = self.question_left
        return batch | {
            "qformer_input_ids": pad(asked, self.question_padding, left=left),
            "qformer_attention_mask": pad([torch.ones_like(row) for row in asked], 0, left=left),
        }


def pad(rows: Sequence[Tensor], value: int, *, left: bool) -> Tensor:
    """Rows of different lengths to one (B, S) tensor.

    Example:
        >>> pad([torch.tensor([1, 2]), torch.tensor([3])], 0, left=True).tolist()
        [[1, 2], [0, 3]]
    """
    width = max(len(row) for row in rows)
    out = rows[0].new_full((len(rows), width), value)
    for line, row in zip(out, rows):
        line[width - len(row) if left else 0 :][: len(row)] = row
    return out


def _padding_id(tokenizer: PreTrainedTokenizerBase, name: str) -> int:
    padding = tokenizer.pad_token_id
    if padding is None:
        raise ValueError(f"{name} must have a padding token, got none: set its pad_token")
    return int(padding)
