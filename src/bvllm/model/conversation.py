"""Read a chat: its clips, the parts of them that are meant, and the question that chooses frames."""

from dataclasses import dataclass
from typing import Any

from bvllm.common.text import split_prompt
from bvllm.model.video_processing_bvllm import PartOfSource, VideoSource
from bvllm.video.chat_parts import BESIDE, Message, parts_of, source_of
from bvllm.video.part_words import VideoPart


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


def _source(part: dict[str, Any]) -> VideoSource | None:
    """What a part names, with the part of it that is meant."""
    found = source_of(part)
    if found is None:
        return None
    plain = found.part == VideoPart() and found.seconds is None
    return found.source if plain else PartOfSource(found.source, found.part, found.seconds)
