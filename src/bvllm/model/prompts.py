"""Tokenize prompts in which each clip has one placeholder, written out as what stands for the clip."""

from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

Spans = list[list[tuple[int, int]]]


@dataclass(frozen=True)
class Prompts:
    """Texts with one placeholder per clip, and how to tokenize them.

    Attributes:
        texts: prompts.
        add_special_tokens: whether the tokenizer adds its own.
        padding: pad on the left to one length.
        return_tensors: "pt", or None for lists.
        spans: for each text, the characters (from, to) that the assistant says; None leaves the mask out.
    """

    texts: list[str]
    add_special_tokens: bool
    padding: bool
    return_tensors: str | None
    spans: Spans | None = None

    def tokenize(self, tokenizer: PreTrainedTokenizerBase, token: str, counts: list[int]) -> dict[str, Any]:
        """As `tokenize_written`, with each placeholder repeated.

        Args:
            token: the placeholder.
            counts: how often to write it for each clip of all texts, in reading order.
        """
        return self.tokenize_written(tokenizer, token, [token * count for count in counts])

    def tokenize_written(
        self, tokenizer: PreTrainedTokenizerBase, token: str, clips: list[str]
    ) -> dict[str, Any]:
        """`input_ids` and `attention_mask`, and `assistant_masks` where there are spans.

        Args:
            token: the placeholder.
            clips: what stands in the place of each clip's placeholder in all texts, in reading order.

        Raises:
            ValueError: there are more or fewer clips than placeholders.
        """
        written = sum(text.count(token) for text in self.texts)
        if written != len(clips):
            raise ValueError(
                f"counts must be given for the {written} placeholders, got {len(clips)}: one for each clip"
            )
        left = iter(clips)
        grown = [_grow(text, token, [next(left) for _ in range(text.count(token))]) for text in self.texts]
        encoded = tokenizer(
            [text for text, _ in grown],
            add_special_tokens=self.add_special_tokens,
            padding=self.padding,
            padding_side="left",
            return_offsets_mapping=self.spans is not None,
            return_tensors=self.return_tensors,
        )
        out = {"input_ids": encoded["input_ids"], "attention_mask": encoded["attention_mask"]}
        if self.spans is not None:
            masks = [
                _mask(offsets, [(_moved(a, gains), _moved(b, gains)) for a, b in spans])
                for offsets, spans, (_, gains) in zip(encoded["offset_mapping"], self.spans, grown)
            ]
            out["assistant_masks"] = torch.tensor(masks) if self.return_tensors == "pt" else masks
        return out


def _grow(text: str, token: str, clips: list[str]) -> tuple[str, list[tuple[int, int]]]:
    """Write each clip in its placeholder's place; say where that ended and by how much it grew."""
    pieces = text.split(token)
    grown, place, gains = pieces[0], len(pieces[0]), []
    for clip, piece in zip(clips, pieces[1:]):
        gains.append((place + len(token), len(clip) - len(token)))
        grown += clip + piece
        place += len(token) + len(piece)
    return grown, gains


def _moved(char: int, gains: list[tuple[int, int]]) -> int:
    """Where a character of the text lies after its placeholders have grown."""
    return char + sum(gain for end, gain in gains if end <= char)


def _mask(offsets: Any, spans: list[tuple[int, int]]) -> list[int]:
    """1 for every token that shares a character with a span; padding has none."""
    return [int(any(a < end and start < b for a, b in spans) and end > start) for start, end in offsets]
