"""Read which part of a video is meant, and how it is sampled, from the words of rows and chats."""

import difflib
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from .sampling import SamplingPlan

# What each setting is called in released sets and in Hugging Face's chats.
WORDS: dict[str, tuple[str, ...]] = {
    "start": ("start", "video_start", "start_time"),
    "end": ("end", "video_end", "end_time"),
    "fps": ("fps", "video_fps"),
    "frames": ("num_frames", "nframes"),
    "most": ("max_frames",),
}
CLIP = ("clip", "time_range")  # [start, end]
PART_WORDS = frozenset((*(word for words in WORDS.values() for word in words), *CLIP))
# How alike a key must be to a known one to be taken for a slip: among keys of others, and where all are ours.
NEAR, NEAR_AMONG_OURS = 0.85, 0.75


@dataclass(frozen=True)
class VideoPart:
    """What is to be seen of one video; None leaves a setting to the reader.

    Attributes:
        start, end: seconds since the first frame.
        fps: frames per second.
        frames: so many, spread evenly over the part.
        most: frames at most.
    """

    start: float | None = None
    end: float | None = None
    fps: float | None = None
    frames: int | None = None
    most: int | None = None

    @classmethod
    def read(cls, words: Mapping[str, object]) -> "VideoPart":
        """What a row, or a part of a chat, says; other keys are passed over, and null is nothing.

        Raises:
            ValueError: a value is no number, or a setting is given twice.

        Example:
            >>> VideoPart.read({"path": "a.mp4", "video_start": 3, "end": None, "num_frames": 8})
            VideoPart(start=3.0, end=None, fps=None, frames=8, most=None)
        """
        found: dict[str, float] = {}
        for name in CLIP:
            if words.get(name) is not None:
                found["start"], found["end"] = _two_numbers(name, words[name])
        for setting, names in WORDS.items():
            for name in names:
                if words.get(name) is None:
                    continue
                if setting in found:
                    raise ValueError(
                        f"{name} must be given once, got it and another word for it: leave out one"
                    )
                found[setting] = _number(name, words[name])
        frames, most = (_whole(key, found.pop(key)) if key in found else None for key in ("frames", "most"))
        return cls(found.get("start"), found.get("end"), found.get("fps"), frames, most)

    def plan(self, base: SamplingPlan) -> SamplingPlan:
        """A reader's plan with what was said here.

        Raises:
            ValueError: the part is empty, or a number is out of range.
        """
        changes: dict[str, object] = {
            name: getattr(self, name) for name in ("start", "end", "fps") if getattr(self, name) is not None
        }
        if self.most is not None:
            changes["max_frames"] = self.most
        if self.frames is not None:
            changes |= {"fps": None, "max_frames": self.frames}
        return replace(base, **changes) if changes else base  # type: ignore[arg-type]  # names of its fields


def check_keys(given: Collection[str], known: Collection[str], what: str, *, near_only: bool = False) -> None:
    """Refuse keys that nothing reads.

    Args:
        given: the keys that are there.
        known: those that are read.
        what: names the thing in the message.
        near_only: refuse only keys that are nearly a known one: others belong to somebody else.

    Raises:
        ValueError: such a key; names those that are near.
    """
    for key in given:
        if key in known:
            continue
        near = difflib.get_close_matches(key, known, n=2, cutoff=NEAR if near_only else NEAR_AMONG_OURS)
        if near or not near_only:
            hint = (
                f"did you mean {' or '.join(map(repr, near))}?"
                if near
                else f"known are {', '.join(sorted(known))}"
            )
            raise ValueError(f"{what} must hold keys that are read, got {key!r}: {hint}")


def _number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{name} must be a number, got {value!r:.60}: give seconds, or a count")
    return float(value)


def _two_numbers(name: str, value: object) -> tuple[float, float]:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ValueError(f"{name} must be [start, end], got {value!r:.60}: give two numbers of seconds")
    return _number(name, value[0]), _number(name, value[1])


def _whole(name: str, value: float) -> int:
    if value != int(value) or value < 1:
        raise ValueError(
            f"{name} must be a whole number of at least 1, got {value:g}: give a count of frames"
        )
    return int(value)
