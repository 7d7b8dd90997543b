"""The chat schema: one JSON object a line, one question about one video a line."""

import re
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

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
    """A question with its options below it, one a line.

    Example:
        >>> join_options("which colour?", ["red", "blue"])
        'which colour?\\nA. red\\nB. blue'
    """
    return "\n".join(
        [stem, *(f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=False))]
    )


def parse_letter(text: str) -> str | None:
    """The letter that an answer chooses: the last one in brackets, or an answer that is a letter.

    Example:
        >>> parse_letter("00:04, 00:19 = 2 (C)"), parse_letter("B."), parse_letter("a red star")
        ('C', 'B', None)
    """
    bracketed = re.findall(r"\(\s*([A-H])\s*\)", text)
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


def read_rows(path: Path) -> list[Row]:
    """Every row of a JSONL file.

    Raises:
        ValueError: a line is not a row; the message names the file and the line.
    """
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            rows.append(Row.model_validate_json(line))
        except ValueError as error:
            first = str(error).splitlines()[0]
            raise ValueError(
                f"{path}:{number} must be a row of the chat schema, got an error: {first}"
            ) from error
    return rows
