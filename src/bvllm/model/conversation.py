"""Read a chat: its clips, the parts of them that are meant, and the question that chooses frames."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bvllm.common.subtitles import beside, read_subtitles, within
from bvllm.common.text import split_prompt
from bvllm.model.video_processing_bvllm import PartOfSource, VideoSource
from bvllm.video import FrameList
from bvllm.video.part_words import PART_WORDS, VideoPart, check_keys

PART_TYPES = ("text", "video", "image")
SOURCE_KEYS = ("video", "image", "path", "url")
BESIDE = "beside"  # marks a text part that is no part of the question
PART_KEYS = PART_WORDS | {"type", "text", "seconds", "subtitles", *SOURCE_KEYS}
Message = dict[str, object]


@dataclass(frozen=True)
class Conversation:
    """What the model needs to know of a chat beside its text.

    Attributes:
        clips: videos and images, in reading order; None where a part names no source.
        question: what the last user turn asks, without options.
    """

    clips: tuple[VideoSource | None, ...]
    question: str

    @classmethod
    def of(cls, messages: list[Message]) -> "Conversation":
        """Read a chat of {"role", "content"} messages; content is text or a list of parts.

        Raises:
            ValueError: a part of an unknown type.

        Example:
            >>> Conversation.of([{"role": "user", "content": [{"type": "video", "path": "a.mp4"},
            ...     {"type": "text", "text": "Which?\\nA. one\\nB. two"}]}])
            Conversation(clips=('a.mp4',), question='Which?')
        """
        clips = [
            _source(part) for message in messages for part in parts_of(message) if part["type"] != "text"
        ]
        asked = [message for message in messages if message["role"] == "user"]
        parts = parts_of(asked[-1]) if asked else []
        words = [str(part["text"]) for part in parts if part["type"] == "text" and not part.get(BESIDE)]
        return cls(tuple(clips), split_prompt("\n".join(words)).stem)


def parts_of(message: Message) -> list[dict[str, Any]]:
    """A message's content as a list of parts."""
    content: Any = message["content"]
    parts: list[dict[str, Any]] = [{"type": "text", "text": content}] if isinstance(content, str) else content
    for part in parts:
        if part["type"] not in PART_TYPES:
            raise ValueError(f"a part must be text, video or image, got {part['type']!r}: change its type")
    return parts


def with_subtitles(messages: list[Message]) -> list[Message]:
    """The chat with the subtitles that its videos name written below them, as text beside the video.

    Only those of the part that is meant, where it is named by its times.

    Raises:
        ValueError: a file cannot be read as subtitles.
    """
    if not any(part.get("subtitles") is not None for message in messages for part in parts_of(message)):
        return messages
    found: list[Message] = []
    for message in messages:
        parts: list[dict[str, Any]] = []
        for part in parts_of(message):
            parts.append(part)
            if part.get("subtitles") is not None:
                parts.append(subtitle_part(part["subtitles"], VideoPart.read(part)))
        found.append({**message, "content": parts})
    return found


def subtitle_part(file: str | Path, part: VideoPart) -> dict[str, object]:
    """A text part with the subtitles of a file, of one part of its video.

    Raises:
        ValueError: the file cannot be read as subtitles.
    """
    cues = within(read_subtitles(file), part.start or 0.0, part.end)
    return {"type": "text", "text": beside(cues), BESIDE: True}


def _source(part: dict[str, Any]) -> VideoSource | None:
    """What a part names, with the part of it that is meant."""
    check_keys(part, PART_KEYS, f"a {part['type']} part of a chat")
    source = next((part[key] for key in SOURCE_KEYS if part.get(key) is not None), None)
    if source is None:
        return None
    words = VideoPart.read(part) if part["type"] == "video" else VideoPart()
    seconds = part.get("seconds")
    files = isinstance(source, list | tuple) and any(isinstance(frame, str | Path) for frame in source)
    if seconds is not None and not files:
        source, seconds = FrameList(source, seconds), None
    plain = words == VideoPart() and seconds is None
    return source if plain else PartOfSource(source, words, seconds)
