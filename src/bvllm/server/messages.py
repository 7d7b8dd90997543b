"""Take messages apart: the question, and the video or pictures it is about."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from bvllm.server.body import SpooledText
from bvllm.server.errors import ApiError, wrong_request

Kind = Literal["video", "image"]
# Every spelling of a part that public clients send, and what it holds.
TEXT_PARTS = frozenset({"text", "input_text", "output_text"})
MEDIA_PARTS: dict[str, Kind] = {
    "video_url": "video",
    "video": "video",
    "input_video": "video",
    "file": "video",
    "input_file": "video",
    "image_url": "image",
    "input_image": "image",
    "image": "image",
}
# Fields of a part, or of the object inside it, that say where the video is.
PLACES = (
    "url",
    "video_url",
    "image_url",
    "video",
    "image",
    "data",
    "file_data",
    "file_url",
    "file_id",
    "path",
)
ACCEPTED = "text, video_url, video, input_video, image_url, file"
ROLES = frozenset({"system", "developer", "user", "assistant"})
EARLIER = "earlier turns and system messages are not read: the model answers the last question about one clip"


@dataclass(frozen=True)
class MediaReference:
    """Where a video or picture is, as the client wrote it.

    Attributes:
        kind: what it is taken for.
        where: an address, a `data:` text, a file's id, a path, or bare base64; a long one is on disk.
        raw: whether `where` is bare base64, by the field it stood in.
    """

    kind: Kind
    where: str | SpooledText
    raw: bool = False


@dataclass(frozen=True)
class Conversation:
    """What of a request's messages is answered.

    Attributes:
        question: text of the last turn of the user.
        media: one video, or pictures in their order.
        warnings: what was not read.
    """

    question: str
    media: tuple[MediaReference, ...]
    warnings: tuple[str, ...]


def read_messages(
    messages: Sequence[Mapping[str, Any]], *, most_images: int, most_chars: int
) -> Conversation:
    """The last question of a conversation, and what it is about.

    Raises:
        ApiError: there is no question, no video, more than one video, or a part that is not known.
    """
    texts: list[str] = []
    media: list[MediaReference] = []
    earlier = False
    for number, message in enumerate(messages):
        where = f"messages.{number}"
        role = message.get("role", "user" if message.get("type") in (None, "message") else None)
        if not isinstance(role, str) or role not in ROLES:
            raise wrong_request(
                f"{where}.role must be one of {', '.join(sorted(ROLES))}, got another: change it", where
            )
        if number == len(messages) - 1 and role != "user":
            raise wrong_request(f"the last message must be the user's, got {role}: add the question", where)
        earlier = earlier or bool(texts)
        texts = []
        for part in _parts(message.get("content"), where):
            if isinstance(part, str):
                texts.append(part)
            else:
                media.append(part)
    question = "\n".join(text for text in texts if text.strip())
    _check(question, media, most_images, most_chars)
    return Conversation(question, tuple(_latest(media)), (EARLIER,) if earlier else ())


def _parts(content: object, where: str) -> list[str | MediaReference]:
    if content is None:
        return []
    if isinstance(content, str):
        return [content]
    if not isinstance(content, list):
        raise wrong_request(
            f"{where}.content must be a text or a list of parts, got another: change it", where
        )
    return [_part(part, f"{where}.content.{k}") for k, part in enumerate(content)]


def _part(part: object, where: str) -> str | MediaReference:
    if isinstance(part, str):
        return part
    if not isinstance(part, dict):
        raise wrong_request(f"{where} must be an object, got another: see docs/serving.md", where)
    kind = part.get("type")
    if kind is None:  # vLLM's clients leave it out
        kind = next((name for name in MEDIA_PARTS if name in part), "text" if "text" in part else None)
    if isinstance(kind, str) and kind in TEXT_PARTS:
        text = part.get("text")
        if not isinstance(text, str):
            raise wrong_request(f"{where}.text must be a text, got another: change it", where)
        return text
    if not isinstance(kind, str) or kind not in MEDIA_PARTS:
        raise ApiError(
            400, "unknown_part", f"{where}.type must be one of {ACCEPTED}, got another: change it", where
        )
    return _media(part, kind, where)


def _media(part: Mapping[str, Any], kind: str, where: str) -> MediaReference:
    held = part.get(kind, part)
    if isinstance(held, str | SpooledText):
        return MediaReference(MEDIA_PARTS[kind], held)
    for outer in (held, *(held.get(place) for place in PLACES if isinstance(held, dict))):
        if isinstance(outer, dict):
            for place in PLACES:
                found = outer.get(place)
                if isinstance(found, str | SpooledText) and found:
                    bare = isinstance(found, SpooledText) or not found.startswith("data:")
                    raw = place in ("data", "file_data") and bare
                    return MediaReference(MEDIA_PARTS[kind], found, raw)
    raise wrong_request(f"{where} must say where the video is, got nothing: give a url or a file_id", where)


def _latest(media: Sequence[MediaReference]) -> list[MediaReference]:
    """The one video, however often it is repeated; or all pictures, which are frames of one clip."""
    return [m for m in media if m.kind == "video"][-1:] or list(media)


def _check(question: str, media: Sequence[MediaReference], most_images: int, most_chars: int) -> None:
    videos = {m.where for m in media if m.kind == "video"}
    if len(question) > most_chars:
        raise wrong_request(
            f"question must have at most {most_chars} characters, got {len(question)}: shorten it", "messages"
        )
    if not question.strip():
        raise wrong_request("question must hold words, got nothing: write what you want to know", "messages")
    if not media:
        raise ApiError(
            400,
            "no_video_part",
            f"messages must hold a video or pictures, got text alone: add a part of type {ACCEPTED}",
            "messages",
        )
    if len(videos) > 1:
        raise wrong_request(
            f"messages must hold one video, got {len(videos)}: ask about one at a time", "messages"
        )
    if videos and len(media) > len([m for m in media if m.kind == "video"]):
        raise wrong_request("messages must hold a video or pictures, got both: leave one out", "messages")
    if len(media) > most_images and not videos:
        raise wrong_request(
            f"messages must hold at most {most_images} pictures, got {len(media)}: leave some out", "messages"
        )
