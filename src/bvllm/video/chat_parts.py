"""Read the parts of a chat: texts, videos and pictures, as Hugging Face's chats and rows name them."""

from pathlib import Path
from typing import Any, NamedTuple, cast

from bvllm.common.subtitles import beside, read_subtitles, within

from .forms import AnySource
from .frames import FrameList
from .part_words import PART_WORDS, VideoPart, check_keys

PART_TYPES = ("text", "video", "image")
SOURCE_KEYS = ("video", "image", "path", "url")
BESIDE = "beside"  # marks a text part that is no part of the question
PART_KEYS = PART_WORDS | {"type", "text", "seconds", "subtitles", *SOURCE_KEYS}
Message = dict[str, object]


class NamedSource(NamedTuple):
    """A source as a part of a chat names it.

    Attributes:
        source: where it is, or its frames.
        part: of a video, which part is meant, and how it is sampled.
        seconds: times of frames that are files; those of other frames are in the source.
    """

    source: AnySource
    part: VideoPart
    seconds: list[float] | None


def parts_of(message: Message) -> list[dict[str, Any]]:
    """A message's content as a list of parts.

    Raises:
        ValueError: a part of an unknown type.
    """
    content: Any = message["content"]
    parts: list[dict[str, Any]] = [{"type": "text", "text": content}] if isinstance(content, str) else content
    for part in parts:
        if part["type"] not in PART_TYPES:
            raise ValueError(f"a part must be text, video or image, got {part['type']!r}: change its type")
    return parts


def source_of(part: dict[str, Any]) -> NamedSource | None:
    """What a video or image part names; None where it names no source.

    Raises:
        ValueError: a key is nearly one that is read, or a setting makes no sense.

    Example:
        >>> source_of({"type": "video", "path": "a.mp4", "start": 3}).part.start
        3.0
    """
    check_keys(part, PART_KEYS, f"a {part['type']} part of a chat")
    source = next((part[key] for key in SOURCE_KEYS if part.get(key) is not None), None)
    if source is None:
        return None
    words = VideoPart.read(part) if part["type"] == "video" else VideoPart()
    seconds = part.get("seconds")
    files = isinstance(source, list | tuple) and any(isinstance(frame, str | Path) for frame in source)
    if seconds is not None and not files:
        source, seconds = FrameList(source, seconds), None
    return NamedSource(cast(AnySource, source), words, seconds)


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
