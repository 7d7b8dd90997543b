"""Parse one row's JSON into a dialogue: the chat schema, and the form that LLaVA began.

LLaVA, LLaMA-VID, Video-LLaVA, Valley and VideoLLaMA2 share `{"id", "image" | "video", "conversations":
[{"from": "human" | "gpt", "value": "<image>\\n..."}]}` and differ in detail; docs/data.md lists what is read.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bvllm.data.chat import Message, Part
from bvllm.data.dialogue import Beside, Dialogue, Media, MediaKind, Role, Turn
from bvllm.data.faults import FaultKind, InvalidRow
from bvllm.data.form_faults import field_of, form_faults
from bvllm.video.chat_parts import subtitle_part
from bvllm.video.part_words import PART_WORDS, VideoPart, check_keys

# (kind, name in the row, subfolder the row names) -> the media; raises InvalidRow.
FindMedia = Callable[[MediaKind, str, str | None], Media]

MARK = re.compile(r"<(image|video)>[ \t]*\n?")  # the template writes the line feed after a placeholder
ROLES: dict[str, Role] = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "system": "system",
}
KINDS: tuple[MediaKind, ...] = ("image", "video")
# What is read of a row; released sets carry other columns, of which only slips of these are refused.
ROW_KEYS = PART_WORDS | {
    "id", "v_id", "messages", "conversations", "image", "images", "video", "videos", "source", "system",
    "system_prompt", "subtitles",
}  # fmt: skip
SPEAKER_AND_WORDS = (("from", "value"), ("role", "content"))


def parse_row(data: bytes, where: str, find: FindMedia) -> Dialogue:
    """Read one row.

    Args:
        data: a JSON object.
        where: file and line.
        find: what turns a name into media.

    Raises:
        InvalidRow: whatever is wrong with it.

    Example:
        >>> row = b'{"id": 7, "conversations": [{"from": "human", "value": "hello?"}, '
        >>> row += b'{"from": "gpt", "value": "hi"}]}'
        >>> [(turn.role, turn.text) for turn in parse_row(row, "a.json:1", lambda *_: None).turns]
        [('user', 'hello?'), ('assistant', 'hi')]
    """
    if not data.strip():
        raise InvalidRow(where, "json", "the array must be closed, got the end of the file")
    try:
        row = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        reason = str(error) if isinstance(error, json.JSONDecodeError) else type(error).__name__
        raise InvalidRow(where, "json", f"a row must be JSON in UTF-8, got {reason}") from None
    return row_to_dialogue(row, where, find)


def row_to_dialogue(row: object, where: str, find: FindMedia) -> Dialogue:
    """The same from what JSON holds already, as Hub datasets give it."""
    if not isinstance(row, dict):
        raise InvalidRow(where, "schema", f"a row must be an object, got {type(row).__name__}")
    try:
        check_keys([str(key) for key in row], ROW_KEYS, "a row", near_only=True)
    except ValueError as error:
        raise InvalidRow(where, "schema", str(error)) from None
    if isinstance(row.get("messages"), list):
        turns = _chat_turns(row, where, find)
    elif isinstance(row.get("conversations"), list):
        turns = _llava_turns(row, where, find)
    else:
        raise InvalidRow(
            where, "schema", f"a row must have conversations or messages, got {sorted(map(str, row))}"
        )
    name = next((row[key] for key in ("id", "v_id") if row.get(key) is not None), "")
    return Dialogue(str(name), tuple(turns), where)


@dataclass(frozen=True)
class _Mark:
    """A placeholder that is still without its file."""

    kind: MediaKind


def _chat_turns(row: dict[str, Any], where: str, find: FindMedia) -> list[Turn]:
    """Media stand in the parts, or beside the messages in the order of their placeholders."""
    spoken = [_chat_turn(message, where, find) for message in row["messages"]]
    system = _system(row)
    if system and (not spoken or spoken[0][0] != "system"):
        spoken.insert(0, ("system", [system]))
    parts = [part for _, turn in spoken for part in turn]
    marks: list[str] = [part.kind for part in parts if isinstance(part, _Mark)]
    # Rows of the world name their video in its part, and once more beside the messages.
    alone = not any(isinstance(part, Media) for part in parts)
    media = iter(_media(row, marks, where, find) if marks or alone else ())
    return [
        Turn(role, tuple(next(media) if isinstance(p, _Mark) else p for p in turn)) for role, turn in spoken
    ]


def _chat_turn(message: Any, where: str, find: FindMedia) -> tuple[Role, list[str | Media | Beside | _Mark]]:
    if isinstance(message, dict) and isinstance(message.get("content"), str):
        message = {**message, "content": [{"type": "text", "text": message["content"]}]}
    try:
        read = Message.model_validate(message)
    except ValidationError as error:
        first = field_of(error.errors(include_url=False, include_input=False)[0])
        kind: FaultKind = "roles" if first == "role" else "schema"
        raise InvalidRow(
            where, kind, f"a message must fit the chat schema, got {form_faults(error)}"
        ) from None
    parts: list[str | Media | Beside | _Mark] = []
    for part in read.content:
        if part.type == "text":
            if part.text is None:
                raise InvalidRow(where, "schema", "a text part must have a text, got none")
            parts += _pieces(part.text)
        else:
            parts.append(_named(part, where, find) if part.file else _Mark(part.type))
            if part.subtitles is not None:
                parts.append(_subtitles(part.subtitles, part.model_extra or {}, where, find))
    return read.role, parts


def _named(part: Part, where: str, find: FindMedia) -> Media:
    """The media that a part of a chat names."""
    name = part.file
    found = _frames(name, None, where, find) if isinstance(name, list) else find(_kind(part), str(name), None)
    seconds = None if part.seconds is None else tuple(part.seconds)
    return _with_part(found if seconds is None else replace(found, seconds=seconds), part.model_extra, where)


def _subtitles(name: object, words: Mapping[str, object], where: str, find: FindMedia) -> Beside:
    """What a video's subtitles say, of the part of it that is meant."""
    if not isinstance(name, str):
        raise InvalidRow(where, "schema", f"subtitles must be the name of a file, got {name!r:.60}")
    file = find("video", name, None).source
    try:
        if isinstance(file, Path):
            return Beside(str(subtitle_part(file, VideoPart.read(words))["text"]))
    except ValueError as error:
        raise InvalidRow(where, "schema", str(error)) from None
    raise InvalidRow(where, "schema", f"subtitles must be a file beside the rows, got {name!r:.60}")


def _kind(part: Part) -> MediaKind:
    return "image" if part.type == "image" else "video"


def _frames(names: list[str], folder: str | None, where: str, find: FindMedia) -> Media:
    """Files of one picture each as the frames of one video."""
    found = [find("image", name, folder) for name in names]
    files: list[Any] = [media.source for media in found]  # never several: each is one file
    return Media("video", tuple(files), found[0].root)


def _llava_turns(row: dict[str, Any], where: str, find: FindMedia) -> list[Turn]:
    spoken = [_speaker_and_words(turn, where) for turn in row["conversations"]]
    system = _system(row)
    if system:
        spoken.insert(0, ("system", system))
    marks = [mark for _, words in spoken for mark in MARK.findall(words)]
    media = iter(_media(row, marks, where, find))
    turns = [Turn(role, _parts(words, media)) for role, words in spoken]
    return turns if row.get("subtitles") is None else _with_subtitles(turns, row, where, find)


def _with_subtitles(turns: list[Turn], row: dict[str, Any], where: str, find: FindMedia) -> list[Turn]:
    """The turns with a row's subtitles below its one video."""
    videos = [media for turn in turns for media in turn.media if media.kind == "video"]
    if len(videos) != 1:
        raise InvalidRow(where, "schema", f"subtitles must be of one video, got {len(videos)} in the row")
    text = _subtitles(row["subtitles"], row, where, find)
    return [
        replace(
            turn,
            parts=tuple(p for part in turn.parts for p in ((part, text) if part is videos[0] else (part,))),
        )
        for turn in turns
    ]


def _system(row: dict[str, Any]) -> str:
    return next((row[k] for k in ("system", "system_prompt") if isinstance(row.get(k), str)), "")


def _speaker_and_words(turn: Any, where: str) -> tuple[Role, str]:
    for speaker, words in SPEAKER_AND_WORDS:
        if isinstance(turn, dict) and speaker in turn:
            if not isinstance(turn.get(words), str):
                raise InvalidRow(
                    where, "schema", f"a turn must have a text as {words!r}, got {turn.get(words)!r:.60}"
                )
            if not isinstance(turn[speaker], str) or turn[speaker] not in ROLES:
                known = ", ".join(ROLES)
                raise InvalidRow(
                    where, "roles", f"a turn must be from one of {known}, got {turn[speaker]!r:.60}"
                )
            return ROLES[turn[speaker]], turn[words]
    raise InvalidRow(where, "schema", f"a turn must say whom it is from, got {turn!r:.60}")


def _media(row: dict[str, Any], marks: list[str], where: str, find: FindMedia) -> list[Media]:
    """The files of a row in the order of its placeholders.

    Where each kind has as many files as placeholders, kinds are matched. Otherwise any placeholder may stand
    for any file as long as one field alone names files: LLaMA-VID writes <image> for videos.
    """
    named = {kind: _names(row, kind, where) for kind in KINDS}
    if all(marks.count(kind) == len(named[kind]) for kind in KINDS):
        left = {kind: iter(named[kind]) for kind in KINDS}
        order = [(kind, next(left[kind])) for mark in marks for kind in KINDS if kind == mark]
    elif len(marks) == sum(map(len, named.values())) and not all(named.values()):
        order = [(kind, name) for kind in KINDS for name in named[kind]]
    else:
        written = {f"<{kind}>": marks.count(kind) for kind in KINDS}
        files = {kind: len(names) for kind, names in named.items()}
        raise InvalidRow(
            where, "placeholder", f"every placeholder must have its file, got {written} for files {files}"
        )
    folder = row["source"] if isinstance(row.get("source"), str) else None
    return [
        _with_part(
            _frames(name, folder, where, find) if isinstance(name, list) else find(kind, name, folder),
            row,
            where,
        )
        for kind, name in order
    ]


def _with_part(media: Media, words: Mapping[str, object] | None, where: str) -> Media:
    """The media with the part of it that a row, or a part of a chat, names."""
    if media is None or media.kind != "video" or not words:
        return media
    try:
        return replace(media, part=VideoPart.read(words))
    except ValueError as error:
        raise InvalidRow(where, "schema", str(error)) from None


def _names(row: dict[str, Any], kind: str, where: str) -> list[str | list[str]]:
    """The files of a kind; of videos, a list inside the list is the frames of one."""
    value: object = next((row[key] for key in (kind, kind + "s") if row.get(key) is not None), [])
    names: list[Any] = value if isinstance(value, list) else [value]
    words = [
        name for name in names if name and (isinstance(name, str) or (kind == "video" and _all_text(name)))
    ]
    if len(words) < len(names):
        raise InvalidRow(where, "schema", f"{kind} must be a path or a list of paths, got {value!r:.60}")
    return words


def _all_text(names: object) -> bool:
    return isinstance(names, list) and all(isinstance(name, str) and name for name in names)


def _parts(words: str, media: Iterator[Media]) -> tuple[str | Media, ...]:
    return tuple(next(media) if isinstance(piece, _Mark) else piece for piece in _pieces(words))


def _pieces(words: str) -> list[str | Media | _Mark]:
    """Texts and placeholders in the order they stand."""
    pieces: list[str | Media | _Mark] = []
    for number, piece in enumerate(MARK.split(words)):
        if number % 2:
            pieces.append(_Mark("video" if piece == "video" else "image"))
        elif piece:
            pieces.append(piece)
    return pieces
