"""Hold a conversation in which videos and pictures stand between words: what a prompt is written from."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from bvllm.model.backbones.several import ClipKind


@dataclass(frozen=True)
class ClipPlace:
    """Where a clip stands in a conversation.

    Attributes:
        number: of the clip, in reading order from 0.
        kind: whether it is shown as a video or as a picture.
    """

    number: int
    kind: ClipKind


@dataclass(frozen=True)
class Turn:
    """What one side says in a turn: words and clips, as they stand.

    Attributes:
        role: "user", "assistant" or "system".
        parts: texts, and places of clips.
    """

    role: str
    parts: tuple[str | ClipPlace, ...]


def one_turn(kinds: Sequence[ClipKind], text: str = "") -> tuple[Turn, ...]:
    """A user's turn: all clips in their order, then the words.

    Example:
        >>> [turn] = one_turn(["video", "image"], "what is it?")
        >>> len(turn.parts), kinds_in((turn,))
        (3, ('video', 'image'))
    """
    places = [ClipPlace(number, kind) for number, kind in enumerate(kinds)]
    return (Turn("user", (*places, text)),)


def with_last_words(turns: Sequence[Turn], text: str) -> tuple[Turn, ...]:
    """The conversation with other words in the place of its last ones.

    Example:
        >>> with_last_words(one_turn(["video"], "a"), "b")[0].parts[-1]
        'b'
    """
    *before, last = turns
    place = max(k for k, part in enumerate(last.parts) if isinstance(part, str))
    return (*before, replace(last, parts=(*last.parts[:place], text, *last.parts[place + 1 :])))


def kinds_in(turns: Sequence[Turn]) -> tuple[ClipKind, ...]:
    """What each clip is shown as, in reading order."""
    return tuple(part.kind for turn in turns for part in turn.parts if isinstance(part, ClipPlace))
