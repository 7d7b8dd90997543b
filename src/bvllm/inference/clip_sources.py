"""Read which videos and pictures a question is about, where they are several: parts, files or a chat."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from bvllm.inference.turns import ClipPlace, Turn
from bvllm.model.backbones.several import NAMES, ClipKind
from bvllm.video.chat_parts import Message, parts_of, source_of, with_subtitles
from bvllm.video.forms import AnySource, as_source
from bvllm.video.part_words import VideoPart
from bvllm.video.videos_in import SUFFIXES

# A list of files is one video's frames, unless one of them is called as a video is; a GIF may be a frame.
VIDEO_NAMES = SUFFIXES - {".gif"}


@dataclass(frozen=True)
class ClipSource:
    """A video or a picture, as it was named.

    Attributes:
        source: where it is.
        name: what to call it.
        kind: what it is to be shown as; None goes by what it is.
        part: of a video, which part, and how it is sampled.
    """

    source: AnySource
    name: str
    kind: ClipKind | None = None
    part: VideoPart = VideoPart()  # noqa: RUF009 - frozen


@dataclass(frozen=True)
class Chat:
    """A conversation with its clips, and what its last turn asks.

    Attributes:
        turns: what was said.
        clips: videos and pictures, in reading order.
        question: the user's last words, options and all.
    """

    turns: tuple[Turn, ...]
    clips: tuple[ClipSource, ...]
    question: str


def clips_in(source: Any) -> tuple[ClipSource, ...] | None:
    """The clips that a source names, where it names several; None where it is one video, in any form.

    Several are parts as a chat has them, or files of which one is called as a video is.

    Raises:
        ValueError: a part is not as a chat's.

    Example:
        >>> parts = [{"type": "video", "path": "a.mp4"}, {"type": "image", "path": "b.jpg"}]
        >>> [clip.kind for clip in clips_in(parts)]
        ['video', 'image']
        >>> len(clips_in(["a.mp4", "b.jpg"])), clips_in(["1.jpg", "2.jpg"])
        (2, None)
    """
    if not isinstance(source, list | tuple) or not source:
        return None
    if all(isinstance(part, dict) for part in source):
        [turn], clips = _read([{"role": "user", "content": list(source)}])
        if any(isinstance(part, str) for part in turn.parts):
            raise ValueError(
                "parts beside a question must be videos and pictures, got a text: pass the chat to bvllm.chat"
            )
        return clips
    if all(isinstance(f, str | Path) for f in source) and any(
        Path(f).suffix.lower() in VIDEO_NAMES for f in source
    ):
        return tuple(ClipSource(file, str(file)) for file in source)
    return None


def read_chat(messages: Sequence[Message]) -> Chat:
    """A chat of {"role", "content"} messages, as transformers takes it; content is text or a list of parts.

    Raises:
        ValueError: it does not end with a question, a part is not known, or names no video.
    """
    if not messages or messages[-1].get("role") != "user":
        raise ValueError("a chat must end with the user's question, got another end: add it")
    turns, clips = _read(list(messages))
    words = [str(p["text"]) for p in parts_of(messages[-1]) if p["type"] == "text"]
    if not any(word.strip() for word in words):
        raise ValueError("a chat must end with a question in words, got none: write what you want to know")
    return Chat(turns, clips, "\n".join(words))


def _read(messages: list[Message]) -> tuple[tuple[Turn, ...], tuple[ClipSource, ...]]:
    turns: list[Turn] = []
    clips: list[ClipSource] = []
    for message in with_subtitles(messages):
        said: list[str | ClipPlace] = []
        for part in parts_of(message):
            if part["type"] == "text":
                said.append(str(part["text"]))
                continue
            clips.append(_clip(part, len(clips)))
            said.append(ClipPlace(len(clips) - 1, "image" if part["type"] == "image" else "video"))
        turns.append(Turn(str(message["role"]), tuple(said)))
    return tuple(turns), tuple(clips)


def _clip(part: dict[str, Any], number: int) -> ClipSource:
    """A clip with the part that is meant.

    Raises:
        ValueError: it names no source.
    """
    kind: ClipKind = "image" if part["type"] == "image" else "video"
    named = source_of(part)
    if named is None:
        raise ValueError(f"a {kind} part must name its source, got none: add 'path'")
    source = named.source
    name = str(source) if isinstance(source, str | Path) else f"{NAMES[kind]} {number + 1}"
    if named.seconds is not None:
        source = cast(AnySource, as_source(source, seconds=named.seconds))
    return ClipSource(source, name, kind, named.part)
