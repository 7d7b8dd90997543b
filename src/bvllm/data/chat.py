"""Define the chat schema: one JSON object a line, one question about one video a line."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from bvllm.common.reply import parse_letter
from bvllm.common.text import LETTERS, format_clock, join_options, split_options
from bvllm.data.compressed import read_plain
from bvllm.data.form_faults import form_faults
from bvllm.video import SamplingPlan
from bvllm.video.part_words import PART_WORDS, VideoPart, check_keys

MOST_BYTES = 4 << 30  # of a file of questions, unpacked

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


class Part(BaseModel):
    """One piece of a message; a video may say which part of it is meant (`bvllm.video.part_words`).

    Attributes:
        path, video, image, url: the file, by any of these names; a list of files is the frames of a video.
        seconds: the time of each frame, where a list is given.
        subtitles: an SRT or VTT file of the video.
    """

    model_config = ConfigDict(extra="allow")
    type: Literal["text", "video", "image"]
    text: str | None = None
    path: str | list[str] | None = None
    video: str | list[str] | None = None
    image: str | None = None
    url: str | None = None
    seconds: list[float] | None = None
    subtitles: str | None = None

    @model_validator(mode="after")
    def _keys_are_read(self) -> "Part":
        extra = {key for key, value in (self.model_extra or {}).items() if value is not None}
        check_keys(extra, PART_WORDS | set(type(self).model_fields), f"a {self.type} part")
        if extra and self.type != "video":
            raise ValueError(
                f"a {self.type} part must name a file alone, got {sorted(extra)}: only videos have parts"
            )
        listed = isinstance(self.file, list)
        if (listed and self.type != "video") or (self.seconds is not None and not listed):
            raise ValueError(
                f"a {self.type} part must name a file, or the frames of a video and their seconds, got "
                f"{self.file!r:.60}: name one file"
            )
        return self

    @property
    def file(self) -> str | list[str] | None:
        """The file that is named; None for a text, and where it stands beside the messages."""
        return next((name for name in (self.path, self.video, self.image, self.url) if name), None)


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
    letter, the options to rotate, and the needles that had to be found. Words that name a part of the video
    may stand beside them, or in the video's part of the messages; further columns are somebody else's.
    """

    model_config = ConfigDict(extra="allow")
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
    subtitles: str | None = None
    messages: list[Message]

    @property
    def part(self) -> VideoPart:
        """Which part of the video is asked about, and how it is sampled."""
        own = VideoPart.read(self.model_extra or {})
        shown = [part for message in self.messages for part in message.content if part.type == "video"]
        inside = VideoPart.read(shown[0].model_extra or {}) if shown else own
        if VideoPart() not in (own, inside) and own != inside:
            raise ValueError("part of the video must be named once, got two that differ: leave out one")
        return inside if own == VideoPart() else own

    @model_validator(mode="after")
    def _part_can_be_read(self) -> "Row":
        extra = self.model_extra or {}
        check_keys(extra, PART_WORDS | set(type(self).model_fields), "a row", near_only=True)
        replace(self.part, first=None, last=None).plan(SamplingPlan())  # frames: once the video is there
        return self

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
    """Every row of a JSONL file, packed by gzip, bzip2 or xz or not; empty lines are passed over.

    Raises:
        ValueError: a line is not a row; the message names the file, the line and what is missing or wrong.
    """
    rows = []
    try:
        lines = read_plain(path, MOST_BYTES).decode("utf-8-sig").split("\n")
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
                f"{path}:{number} must be a row of the chat schema, got {form_faults(error)}: "
                "mend the line, make it again with `bvllm world make`, or name another benchmark with --task"
            ) from error
    return rows
