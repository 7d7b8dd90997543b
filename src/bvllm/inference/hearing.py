"""Hear an answer while it is being said, and count its tokens."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from transformers.generation import BaseStreamer


@dataclass(frozen=True)
class Heard:
    """What came since the last time.

    Attributes:
        text: new words; none where a letter is not complete yet.
        prompt_tokens: of the whole prompt, visual tokens included.
        tokens: said so far, that which ends the answer included.
        ended: whether the model ended the answer itself, and was not cut off.
    """

    text: str
    prompt_tokens: int
    tokens: int
    ended: bool


Hear = Callable[[Heard], None]


class HearingStreamer(BaseStreamer):  # type: ignore[misc]  # transformers is untyped here
    """Passes on what `generate` says to several questions at once, each to the one who asked.

    Args:
        tokenizer: of the language model.
        hears: one for each row; None where nobody listens.
        ends: ids of the tokens that end an answer.
        prompt_tokens: of each row's prompt; None where it is as long as `generate` says.
    """

    def __init__(
        self,
        tokenizer: Any,
        hears: Sequence[Hear | None],
        ends: Sequence[int],
        prompt_tokens: Sequence[int] | None = None,
    ) -> None:
        self._tokenizer, self._ends = tokenizer, frozenset(ends)
        self._rows = [_Row(hear) for hear in hears]
        self._prompt_tokens, self._prompt_is_next = prompt_tokens, True

    def put(self, value: Tensor) -> None:
        """The prompts first, (B, S); then one token of each row, (B,)."""
        if self._prompt_is_next:
            self._prompt_is_next = False
            counts = self._prompt_tokens or [value.shape[-1]] * len(self._rows)
            for row, count in zip(self._rows, counts, strict=True):
                row.prompt_tokens = count
            return
        for row, token in zip(self._rows, value.flatten().tolist(), strict=True):
            if row.hear is not None and not row.ended:
                row.ids.append(token)
                row.ended = token in self._ends
                self._tell(row, whole=row.ended)

    def end(self) -> None:
        """Nothing more comes: what was held back is said."""
        for row in self._rows:
            if row.hear is not None and not row.ended:
                self._tell(row, whole=True)

    def _tell(self, row: "_Row", *, whole: bool) -> None:
        text = self._tokenizer.decode(row.ids, skip_special_tokens=True).strip()
        if not whole and text.endswith("\ufffd"):  # half of a letter
            text = row.said
        new = text[len(row.said) :] if text.startswith(row.said) else ""
        row.said = row.said + new
        if row.hear is not None:
            row.hear(Heard(new, row.prompt_tokens, len(row.ids), row.ended))


class _Row:
    """What one of them was told so far."""

    def __init__(self, hear: Hear | None) -> None:
        self.hear = hear
        self.prompt_tokens = 0
        self.ids: list[int] = []
        self.said = ""
        self.ended = False
