"""Read which part of a video is meant, and how it is sampled, from the words of rows and chats."""

import difflib
import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from .sampling import SamplingPlan

# What each setting is called in released sets and in Hugging Face's chats.
WORDS: dict[str, tuple[str, ...]] = {
    "start": ("start", "video_start", "start_time"),
    "end": ("end", "video_end", "end_time"),
    "fps": ("fps", "video_fps"),
    "frames": ("num_frames", "nframes"),
    "most": ("max_frames",),
    "first": ("start_frame", "video_start_frame"),
    "last": ("end_frame", "video_end_frame"),
}
# [start, end], in seconds and in numbers of frames.
PAIRS: dict[str, tuple[str, str]] = {
    "clip": ("start", "end"),
    "time_range": ("start", "end"),
    "frame_range": ("first", "last"),
}
PART_WORDS = frozenset((*(word for words in WORDS.values() for word in words), *PAIRS))
TIMES = ("start", "end")
COUNTS = {"frames": 1, "most": 1, "first": 0, "last": 0}  # whole numbers, and the least of each
CLOCK = re.compile(r"(?:(\d+):)?(\d{1,2}):(\d{1,2}(?:[.,]\d+)?)")
# How alike a key must be to a known one to be taken for a slip: among keys of others, and where all are ours.
NEAR, NEAR_AMONG_OURS = 0.85, 0.75
SHORTEST_SLIP = 3  # letters of a known key of which one may be wrong


@dataclass(frozen=True)
class VideoPart:
    """What is to be seen of one video; None leaves a setting to the reader.

    Attributes:
        start, end: seconds since the first frame.
        fps: frames per second.
        frames: so many, spread evenly over the part.
        most: frames at most.
        first, last: numbers of the first and the last frame, counted from 0, both included.
    """

    start: float | None = None
    end: float | None = None
    fps: float | None = None
    frames: int | None = None
    most: int | None = None
    first: int | None = None
    last: int | None = None

    @classmethod
    def read(cls, words: Mapping[str, object]) -> "VideoPart":
        """What a row, or a part of a chat, says; other keys are passed over, and null is nothing.

        Raises:
            ValueError: a value is no number, a setting is given twice, or a part is named by times and by
                frames.

        Example:
            >>> VideoPart.read({"path": "a.mp4", "video_start": 3, "end": None, "num_frames": 8})
            VideoPart(start=3.0, end=None, fps=None, frames=8, most=None, first=None, last=None)
        """
        found: dict[str, float] = {}
        for name, settings in PAIRS.items():
            if words.get(name) is not None:
                found |= zip(settings, _two_numbers(name, words[name]), strict=True)
        for setting, names in WORDS.items():
            for name in names:
                if words.get(name) is None:
                    continue
                if setting in found:
                    raise ValueError(
                        f"{name} must be given once, got it and another word for it: leave out one"
                    )
                found[setting] = _number(name, words[name])
        if {"start", "end"} & set(found) and {"first", "last"} & set(found):
            raise ValueError(
                "a part must be named by its times or by its frames, got both: leave out one of the two"
            )
        counts = {name: _whole(name, found.pop(name), COUNTS[name]) for name in COUNTS if name in found}
        return cls(**found, **counts)  # type: ignore[arg-type]  # names of its fields

    @property
    def by_frames(self) -> bool:
        """Whether the part is named by numbers of frames, whose times only the video knows."""
        return self.first is not None or self.last is not None

    def timed(self, times: Sequence[float]) -> "VideoPart":
        """The same part, named by its times.

        Args:
            times: seconds of every frame of the video since the first, ascending.

        Raises:
            ValueError: there are no such frames.

        Example:
            >>> part = VideoPart(first=1, last=2).timed([0.0, 0.5, 1.25, 2.0])
            >>> part.start, part.end
            (0.5, 2.0)
        """
        first, last = self.first or 0, len(times) - 1 if self.last is None else self.last
        if not first <= last <= len(times) or first == len(times):  # some sets name the end behind the last
            raise ValueError(
                f"frames must lie in the video's 0 to {len(times) - 1}, got {first} to {last}: name others"
            )
        end = times[last + 1] if last + 1 < len(times) else None
        return replace(self, start=times[first], end=end, first=None, last=None)

    def plan(self, base: SamplingPlan) -> SamplingPlan:
        """A reader's plan with what was said here.

        Raises:
            ValueError: the part is empty, a number is out of range, or the part is named by frames.
        """
        if self.by_frames:
            raise ValueError("part must be named by its times, got numbers of frames: call timed first")
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
        near = near or [name for name in sorted(known) if _is_slip_of(key, name)]
        if near or not near_only:
            hint = (
                f"did you mean {' or '.join(map(repr, near))}?"
                if near
                else f"known are {', '.join(sorted(known))}"
            )
            raise ValueError(f"{what} must hold keys that are read, got {key!r}: {hint}")


def _is_slip_of(key: str, name: str) -> bool:
    """Whether one letter is missing, too many, another, or two neighbours are swapped.

    Example:
        >>> [_is_slip_of(key, "start") for key in ("strat", "stat", "startt", "stirt", "store", "start")]
        [True, True, True, True, False, False]
    """
    if key == name or len(name) < SHORTEST_SLIP or abs(len(key) - len(name)) > 1:
        return False
    same = next((k for k, (a, b) in enumerate(zip(key, name)) if a != b), min(len(key), len(name)))
    a, b = key[same:], name[same:]
    swapped = a[:2] == b[:2][::-1] and a[2:] == b[2:] and len(a) == len(b)
    return swapped or a[1:] == b[1:] or a[1:] == b or a == b[1:]


def _number(name: str, value: object) -> float:
    if isinstance(value, str) and (clock := CLOCK.fullmatch(value.strip())):  # as 1:02:03.5
        hours, minutes, seconds = clock.groups()
        return 3600 * int(hours or 0) + 60 * int(minutes) + float(seconds.replace(",", "."))
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{name} must be a number, got {value!r:.60}: give seconds, or a count")
    return float(value)


def _two_numbers(name: str, value: object) -> tuple[float, float]:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ValueError(f"{name} must be [start, end], got {value!r:.60}: give two numbers of seconds")
    return _number(name, value[0]), _number(name, value[1])


def _whole(name: str, value: float, least: int) -> int:
    if value != int(value) or value < least:
        raise ValueError(
            f"{WORDS[name][0]} must be a whole number of at least {least}, got {value:g}: count frames"
        )
    return int(value)
