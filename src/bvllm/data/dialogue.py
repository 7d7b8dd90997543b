"""Hold one row to learn from, whatever file it came from: who says what about which media."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from bvllm.data.faults import InvalidRow
from bvllm.video.chat_parts import BESIDE
from bvllm.video.part_words import VideoPart

Role = Literal["system", "user", "assistant"]
MediaKind = Literal["image", "video"]


@dataclass(frozen=True)
class Media:
    """A picture or a video, not opened yet.

    Attributes:
        kind: an image must turn out to be one frame.
        source: a file, or the bytes of one; several are the frames of one video.
        root: the folder that the file must lie in, links resolved; None for bytes.
        part: which part of a video is meant, and how it is sampled.
        seconds: the time of each frame, where there are several files.
    """

    kind: MediaKind
    source: Path | bytes | tuple[Path | bytes, ...]
    root: Path | None = None
    part: VideoPart = VideoPart()  # noqa: RUF009 - frozen
    seconds: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Beside:
    """Text beside a video, its subtitles: the language model reads it, and it chooses no frame."""

    text: str


@dataclass(frozen=True)
class Turn:
    """What one side says: text and media in reading order."""

    role: Role
    parts: tuple[str | Media | Beside, ...]

    @property
    def text(self) -> str:
        return "".join(part for part in self.parts if isinstance(part, str))

    @property
    def beside(self) -> str:
        """Subtitles of its videos."""
        return "".join(part.text for part in self.parts if isinstance(part, Beside))

    @property
    def media(self) -> tuple[Media, ...]:
        return tuple(part for part in self.parts if isinstance(part, Media))


@dataclass(frozen=True)
class Dialogue:
    """One row: perhaps a system turn, then questions and answers in turn, the last an answer.

    Attributes:
        id: as the file gives it; "" where it does not.
        turns: who says what.
        where: file and line, for messages about this row.

    Raises:
        InvalidRow: turns are out of order, an answer is missing or blank, a question asks nothing, or media
            lie outside the questions.
    """

    id: str
    turns: tuple[Turn, ...]
    where: str

    def __post_init__(self) -> None:
        if any("\ud800" <= letter <= "\udfff" for turn in self.turns for letter in turn.text + turn.beside):
            raise self._bad("schema", "text must be Unicode, got half a character (a lone surrogate)")
        spoken = self.turns[1:] if self.turns and self.turns[0].role == "system" else self.turns
        if not any(turn.role == "assistant" for turn in spoken):
            raise self._bad("no_answer", "a conversation must have an answer, got none")
        roles = [turn.role for turn in spoken]
        for number, role in enumerate(roles):
            expected = ("user", "assistant")[number % 2]
            if role != expected:
                raise self._bad("roles", f"turn {number + 1} must be of {expected}, got {role}")
        if roles[-1] == "user":
            raise self._bad("no_answer", "the last turn must be an answer, got a question")
        for turn in self.turns:
            if turn.role != "user" and turn.media:
                raise self._bad(
                    "placeholder", f"media must stand in a question, got one in a {turn.role} turn"
                )
        for turn in spoken:
            if turn.role == "assistant" and not turn.text.strip():
                raise self._bad("no_answer", "an answer must say something, got a blank one")
            if turn.role == "user" and not turn.media and not turn.text.strip():
                raise self._bad("schema", "a question must ask something, got a blank one")

    @property
    def media(self) -> tuple[Media, ...]:
        """All media in reading order."""
        return tuple(media for turn in self.turns for media in turn.media)

    @property
    def rounds(self) -> int:
        """How many answers there are."""
        return sum(turn.role == "assistant" for turn in self.turns)

    def without_last_round(self) -> "Dialogue":
        """The same row without its last question, its media and its answer."""
        return replace(self, turns=self.turns[:-2])

    def messages(self) -> list[dict[str, object]]:
        """As chat templates take it; media parts name no source."""
        return [
            {
                "role": turn.role,
                "content": [_written(part) for part in turn.parts],
            }
            for turn in self.turns
        ]

    def _bad(self, kind: Literal["no_answer", "roles", "placeholder", "schema"], reason: str) -> InvalidRow:
        return InvalidRow(self.where, kind, reason)


def _written(part: str | Media | Beside) -> dict[str, object]:
    """A part as chat templates take it."""
    if isinstance(part, str):
        return {"type": "text", "text": part}
    return (
        {"type": "text", "text": part.text, BESIDE: True} if isinstance(part, Beside) else {"type": part.kind}
    )
