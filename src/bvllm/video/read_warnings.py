"""Report what is not as it should be about a video that was read, as typed warnings."""

from dataclasses import dataclass
from typing import Literal, get_args

WarningKind = Literal[
    "limit",  # a limit ended the reading; the rest is there, and was not read
    "truncated",  # the file ends before its container does
    "io",  # the disk or the file object failed on the way
    "damage",  # packets or frames did not decode cleanly
    "clock",  # the times of the file were set anew; they go on from where they stood
    "gaps",  # packets arrived incomplete: a hint, as are the next two, since headers lie
    "missing",  # fewer frames than the header promises
    "short",  # fewer seconds than the header promises
    "several",  # the file holds several pictures or streams, of which one was read
    "stream",  # frames of a stream were let go, so that memory stays flat
]
WARNING_KINDS: tuple[WarningKind, ...] = get_args(WarningKind)
# A header may round its duration, or count the sound's last packet.
SLACK_SECONDS = 1.0


@dataclass(frozen=True)
class VideoWarning:
    """One thing that is not as it should be; `str` gives the line that people and files get.

    Args:
        kind: one of `WARNING_KINDS`, for a program to act on.
        text: what there is to say, for a person.

    Raises:
        ValueError: the kind is unknown.

    Example:
        >>> str(VideoWarning("io", "the file could not be read to its end"))
        'io: the file could not be read to its end'
    """

    kind: WarningKind
    text: str

    def __post_init__(self) -> None:
        if self.kind not in WARNING_KINDS:
            known = ", ".join(WARNING_KINDS)
            raise ValueError(f"kind of a warning must be one of {known}, got {self.kind!r}: use one of those")

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}"

    @classmethod
    def parse(cls, line: str) -> "VideoWarning":
        """The warning that `str` made this line of.

        Raises:
            ValueError: the line does not begin with a known kind and a colon.

        Example:
            >>> VideoWarning.parse("gaps: 2 packets arrived incomplete").kind
            'gaps'
        """
        begins, colon, text = line.partition(": ")
        kind = next((kind for kind in WARNING_KINDS if kind == begins), None)
        if kind and colon:
            return cls(kind, text)
        known = ", ".join(WARNING_KINDS)
        raise ValueError(
            f"line of a warning must be a kind of {known}, a colon and a text, got {line!r}: "
            "read the video again"
        )


@dataclass(frozen=True)
class ReadFacts:
    """What was promised and what was found.

    Args:
        limit: name and value of the limit that ended the reading.
        ends_early: the container announces more bytes than the file has.
        damaged: packets and frames that did not decode cleanly.
        gaps: packets that arrived incomplete.
        restarts: how often the clock of the file was set anew.
        others: what of the file was passed over, in words.
        unreadable: the disk or the file object failed on the way.
        frames, seconds: what was found; compared with the claims only if `complete`.
        claimed_frames, claimed_seconds: what the header promises, None if it does not.
    """

    limit: tuple[str, float] | None
    ends_early: bool
    damaged: int
    gaps: int
    unreadable: bool
    frames: int
    seconds: float
    claimed_frames: int | None
    claimed_seconds: float | None
    complete: bool
    restarts: int = 0
    others: str = ""

    @property
    def truncated(self) -> bool:
        """Whether there is more video than was read."""
        return self.ends_early or self.unreadable or self.limit is not None

    @property
    def warnings(self) -> tuple[VideoWarning, ...]:
        """The findings, worst first."""
        found = []
        if self.limit:
            name, value = self.limit
            text = f"stopped at Limits.{name} = {value:g}, the rest was not read"
            found.append(VideoWarning("limit", text))
        if self.ends_early:
            text = "the file ends before its container does, the end of the video is missing"
            found.append(VideoWarning("truncated", text))
        if self.unreadable:
            found.append(VideoWarning("io", "the file could not be read to its end"))
        if self.damaged:
            found.append(VideoWarning("damage", f"{self.damaged} packets or frames did not decode cleanly"))
        if self.gaps:
            found.append(VideoWarning("gaps", f"{self.gaps} packets arrived incomplete"))
        if self.restarts:
            text = f"the clock of the file jumps {self.restarts} times, times go on from where they stood"
            found.append(VideoWarning("clock", text))
        if self.complete and not self.limit:
            found += self._broken_promises()
        if self.others:
            found.append(VideoWarning("several", self.others))
        return tuple(found)

    def _broken_promises(self) -> list[VideoWarning]:
        found = []
        if self.claimed_frames and self.frames < self.claimed_frames:
            text = f"the header promises {self.claimed_frames} frames, the file has {self.frames}"
            found.append(VideoWarning("missing", text))
        if self.claimed_seconds and self.seconds < self.claimed_seconds - SLACK_SECONDS:
            text = f"the header promises {self.claimed_seconds:.1f} s, the file has {self.seconds:.1f} s"
            found.append(VideoWarning("short", text))
        return found
