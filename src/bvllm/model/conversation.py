"""What a chat holds: clips in reading order, and the question that decides which of their frames to see."""

from dataclasses import dataclass

from bvllm.common.text import split_options
from bvllm.model.video_processing_bvllm import VideoSource
from bvllm.video import FrameList

TURN_END = "<|im_end|>"
# ChatML, as Qwen2 speaks it. What the assistant says lies between generation marks: only that is learned.
DEFAULT_CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{{ '<|im_start|>' + message['role'] + '\\n' }}"
    "{%- set parts = message['content'] -%}"
    "{%- if parts is string -%}{%- set parts = [{'type': 'text', 'text': parts}] -%}{%- endif -%}"
    "{%- if message['role'] == 'assistant' -%}"
    "{% generation %}"
    "{%- for part in parts -%}{{ part['text'] }}{%- endfor -%}{{ '<|im_end|>' }}"
    "{% endgeneration %}"
    "{%- else -%}"
    "{%- for part in parts -%}"
    "{%- if part['type'] == 'text' -%}{{ part['text'] }}{%- else -%}{{ video_token + '\\n' }}{%- endif -%}"
    "{%- endfor -%}"
    "{{ '<|im_end|>' }}"
    "{%- endif -%}"
    "{{ '\\n' }}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\\n' }}{%- endif -%}"
)
PART_TYPES = ("text", "video", "image")
SOURCE_KEYS = ("video", "image", "path", "url")

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

        Errors:
            ValueError for a part of an unknown type.

        Example:
            >>> Conversation.of([{"role": "user", "content": [{"type": "video", "path": "a.mp4"},
            ...     {"type": "text", "text": "Which?\\nA. one\\nB. two"}]}])
            Conversation(clips=('a.mp4',), question='Which?')
        """
        clips = [
            _source(part) for message in messages for part in parts_of(message) if part["type"] != "text"
        ]
        asked = [message for message in messages if message["role"] == "user"]
        words = [str(part["text"]) for part in parts_of(asked[-1]) if part["type"] == "text"] if asked else []
        return cls(tuple(clips), split_options("\n".join(words))[0])


def parts_of(message: Message) -> list[dict]:
    """A message's content as a list of parts."""
    content = message["content"]
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    for part in parts:
        if part["type"] not in PART_TYPES:
            raise ValueError(f"a part must be text, video or image, got {part['type']!r}: change its type")
    return parts


def _source(part: dict) -> VideoSource | None:
    source = next((part[key] for key in SOURCE_KEYS if part.get(key) is not None), None)
    return FrameList(source, part["seconds"]) if source is not None and "seconds" in part else source
