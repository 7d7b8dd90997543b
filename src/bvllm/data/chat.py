"""The chat schema: one JSON object a line, one question about one video a line."""

import re
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from bvllm.model.question import split_options

__all__ = [
    "LETTERS",
    "Message",
    "Part",
    "Row",
    "ShownNeedle",
    "format_clock",
    "join_options",
    "parse_letter",
    "read_rows",
    "split_options",
]

LETTERS = "ABCDEFGH"


def format_clock(seconds: float) -> str:
    """Seconds as mm:ss, or h:mm:ss from an hour on.

    Example:
        >>> format_clock(75.4), format_clock(3600)
        ('01:15', '1:00:00')
    """
    whole = int(seconds + 1e-3)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes:02d}:{rest:02d}"


def join_options(stem: str, options: list[str] | tuple[str, ...]) -> str:
    """A question with its options below it, one a line; `split_options` takes them apart again.

    Example:
        >>> join_options("which colour?", ["red", "blue"])
        'which colour?\\nA. red\\nB. blue'
    """
    if len(options) > len(LETTERS):
        raise ValueError(f"options must be at most {len(LETTERS)}, got {len(options)}: leave some out")
    return "\n".join([stem, *(f"{LETTERS[k]}. {option}" for k, option in enumerate(options))])


def parse_letter(text: str) -> str | None:
    """The letter that an answer chooses: the last one in brackets, or an answer that is a letter.

    Example:
        >>> parse_letter("00:04, 00:19 = 2 (C)"), parse_letter("B."), parse_letter("a red star")
        ('C', 'B', None)
    """
    bracketed: list[str] = re.findall(r"\(\s*([A-H])\s*\)", text)
    if bracketed:
        return bracketed[-1]
    alone = re.fullmatch(r"\s*([A-H])[.)]?\s*", text)
    return alone[1] if alone else None


class Part(BaseModel):
    """One piece of a message."""

    model_config = ConfigDict(extra="forbid")
    type: Literal["text", "video", "image"]
    text: str | None = None
    path: str | None = None


class Message(BaseModel):
    """What one side of the conversation says."""

    model_config = ConfigDict(extra="forbid")
    role: Literal["system", "user", "assistant"]
    content: list[Part]


class ShownNeedle(BaseModel):
    """A needle that a question asks about, and when it is shown."""

    name: str
    start: float
    end: float


class Row(BaseModel):
    """One question of the world about one video.

    `messages` is what any chat model takes; the other fields let an evaluation score the answer: the right
    letter, the options to rotate, and the needles that had to be found.
    """

    id: str
    video: str
    seconds: float
    split: str
    task: str
    question: str
    options: list[str]
    answer: str
    open_answer: str
    needles: list[ShownNeedle]
    messages: list[Message]

    @model_validator(mode="after")
    def _answer_is_an_option(self) -> "Row":
        offered = list(LETTERS[: len(self.options)])
        if self.answer not in offered or len(self.options) > len(LETTERS):
            raise ValueError(
                f"answer must be the letter of one of at most {len(LETTERS)} options, got {self.answer!r} "
                f"for {len(self.options)} options: name one that is offered"
            )
        return self


def read_rows(path: Path) -> list[Row]:
    """Every row of a JSONL file; empty lines are passed over.

    Raises:
        ValueError: a line is not a row; the message names the file, the line and the first wrong field.
    """
    rows = []
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} must be text in UTF-8, got other bytes at {error.start}: save it as UTF-8"
        ) from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            rows.append(Row.model_validate_json(line))
        except ValidationError as error:
            raise ValueError(
                f"{path}:{number} must be a row of the chat schema, got {_first_fault(error)}: "
                "mend the line, or make the file again with `bvllm world make`"
            ) from error
    return rows


def _first_fault(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    return f"{field} ({first['msg']})" if field else first["msg"]
