"""What is learned of a sequence: the answers and nothing else."""

import re
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from bvllm.data.dialogue import Dialogue
from bvllm.data.faults import BadRow
from bvllm.model import BVLLMProcessor

IGNORED = -100  # the label that transformers' losses pass over
GENERATION_MARK = re.compile(r"\{%-?\s*generation\s*-?%\}")
Learn = Literal["all", "last"]


@dataclass(frozen=True)
class Sequence:
    """One row as tokens.

    Shapes: `input_ids` and `labels` (S,) int64, labels `IGNORED` but on answers; `question_ids` (Q,) int64,
        what the Q-Formers read, empty where the row has no media.
    """

    input_ids: Tensor
    labels: Tensor
    question_ids: Tensor


def check_template(processor: BVLLMProcessor) -> None:
    """Refuse a chat template that does not mark what the assistant says: nothing could be learned by it.

    Errors:
        ValueError.
    """
    if not GENERATION_MARK.search(processor.chat_template or ""):
        raise ValueError(
            "chat_template must put what the assistant says between {% generation %} and "
            f"{{% endgeneration %}}, got {str(processor.chat_template)[:40]!r}: leave it out for ChatML"
        )


def tokenize(
    dialogue: Dialogue,
    visual_tokens: list[int],
    processor: BVLLMProcessor,
    *,
    max_tokens: int | None = None,
    learn: Learn = "all",
) -> tuple[Dialogue, Sequence]:
    """A row to tokens and labels, cut to length where it must be.

    Whole rounds go from the end as long as more than one is left; the media of a round go with it. Then the
    last answer loses its end. Placeholders are never cut.

    Args:
        dialogue: the row.
        visual_tokens: placeholders for each of its media.
        processor: whose chat template marks what the assistant says.
        max_tokens: most tokens in all; None for any number.
        learn: "all" answers, or the "last" one only, whose question chose the frames.

    Returns:
        What is left of the row, and its tokens.

    Errors:
        BadRow where not one token of an answer fits, or the text holds the placeholder token.
    """
    if any(processor.video_token in turn.text for turn in dialogue.turns):
        raise BadRow(dialogue.where, "placeholder", f"text must not hold {processor.video_token}, got it")
    sequence = _encode(dialogue, visual_tokens, processor, learn)
    while max_tokens is not None and len(sequence.input_ids) > max_tokens and dialogue.rounds > 1:
        dialogue = dialogue.without_last_round()
        sequence = _encode(dialogue, visual_tokens[: len(dialogue.media)], processor, learn)
    if max_tokens is not None and len(sequence.input_ids) > max_tokens:
        lost = sequence.input_ids[max_tokens:]
        cut = replace(
            sequence, input_ids=sequence.input_ids[:max_tokens], labels=sequence.labels[:max_tokens]
        )
        if bool((lost == processor.video_token_id).any()) or not bool((cut.labels != IGNORED).any()):
            needed = len(sequence.input_ids)
            raise BadRow(
                dialogue.where, "too_long", f"a row must fit {max_tokens} tokens, got {needed} in one round"
            )
        sequence = cut
    if not bool((sequence.labels != IGNORED).any()):
        raise BadRow(dialogue.where, "no_answer", "an answer must have a token, got none")
    return dialogue, sequence


def _encode(
    dialogue: Dialogue, visual_tokens: list[int], processor: BVLLMProcessor, learn: Learn
) -> Sequence:
    encoded: Any = processor.apply_chat_template(
        dialogue.messages(),
        tokenize=True,
        return_assistant_tokens_mask=True,
        visual_tokens=visual_tokens,
    )
    ids, said = encoded["input_ids"][0], encoded["assistant_masks"][0].bool()
    if learn == "last":
        said = _last_run(said)
    question = encoded.get("qformer_input_ids")
    mask = encoded.get("qformer_attention_mask")
    asked = torch.zeros(0, dtype=torch.long) if question is None else question[0][mask[0].bool()]
    return Sequence(ids, ids.masked_fill(~said, IGNORED), asked)


def _last_run(said: Tensor) -> Tensor:
    """Only the last unbroken stretch of True."""
    breaks = (~said).long().flip(0).cumsum(0).flip(0)  # breaks from here to the end
    last = breaks[said].min() if bool(said.any()) else 0
    return said & (breaks == last)
