"""Read subtitles (SRT, WebVTT) as text with times, and write them beside a video in a prompt.

The two formats are a page each, and a file may come from anywhere: we parse them ourselves, so that no
decoder written in C sees them.

Source: W3C WebVTT, sec. 4 and 6.4 (cue timings); SubRip as FFmpeg and players read it.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from bvllm.common.text import format_clock

MOST_BYTES = 16 << 20
STAMP = r"(?:(\d+):)?(\d{1,2}):(\d{2})[.,](\d{1,3})"
TIMING = re.compile(rf"\s*{STAMP}\s*-->\s*{STAMP}(?:\s.*)?")
MARKUP = re.compile(r"<[^<>]*>|\{\\[^{}]*\}")
HEADER = "Subtitles:"


@dataclass(frozen=True)
class Cue:
    """What is said or written for some seconds.

    Attributes:
        start, end: seconds since the first frame of the video.
        text: in one line, without markup.
    """

    start: float
    end: float
    text: str

    @property
    def line(self) -> str:
        """As it stands in a prompt.

        Example:
            >>> Cue(61.2, 63, "Hello there").line
            '01:01-01:03 Hello there'
        """
        return f"{format_clock(self.start)}-{format_clock(self.end)} {self.text}"


def read_subtitles(file: str | Path) -> tuple[Cue, ...]:
    """The cues of a file, by their times.

    Raises:
        ValueError: it cannot be read, is neither format, holds no cue, or one whose end is before its start.
    """
    try:
        with open(file, "rb") as opened:
            data = opened.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "no such name"
        raise ValueError(
            f"subtitles must be a file that can be read, got {str(file)!r} ({reason.lower()}): check the path"
        ) from None
    if len(data) > MOST_BYTES:
        raise ValueError(
            f"subtitles must have at most {MOST_BYTES} bytes, got more in {str(file)!r}: split it"
        )
    try:
        text = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(
            f"subtitles must be text in UTF-8, got other bytes in {str(file)!r}: save the file as UTF-8"
        ) from None
    try:
        return parse_subtitles(text)
    except ValueError as error:
        raise ValueError(str(error).replace("subtitles", f"subtitles {str(file)!r}", 1)) from None


def parse_subtitles(text: str) -> tuple[Cue, ...]:
    """The cues of SRT or WebVTT, by their times; notes, styles, numbers and markup are passed over.

    Raises:
        ValueError: there is no cue, or one whose end is before its start.

    Example:
        >>> parse_subtitles("1\\n00:00:01,000 --> 00:00:03,500\\n<i>Hello</i>\\nthere\\n")
        (Cue(start=1.0, end=3.5, text='Hello there'),)
    """
    cues = []
    for block in re.split(r"\n[ \t]*\n", text.replace("\r\n", "\n").replace("\r", "\n")):
        lines = block.strip().split("\n")
        # A number or a name may stand above the times.
        found = next((k for k, line in enumerate(lines[:2]) if TIMING.fullmatch(line)), None)
        if found is None:
            continue
        times = [part or "0" for part in TIMING.fullmatch(lines[found]).groups()]  # type: ignore[union-attr]
        start, end = _seconds(*times[:4]), _seconds(*times[4:])
        if end < start:
            raise ValueError(
                f"subtitles must end after they start, got {lines[found].strip()!r}: mend the times"
            )
        words = " ".join(MARKUP.sub("", line).strip() for line in lines[found + 1 :]).strip()
        if words:
            cues.append(Cue(start, end, words))
    if not cues:
        raise ValueError("subtitles must hold a line with times and words, got none: give an SRT or VTT file")
    return tuple(sorted(cues, key=lambda cue: (cue.start, cue.end)))


def within(cues: Iterable[Cue], start: float, end: float | None) -> tuple[Cue, ...]:
    """Those that are shown at some time of a part of the video.

    Example:
        >>> within([Cue(0, 2, "a"), Cue(2, 5, "b"), Cue(7, 8, "c")], 3, 7)
        (Cue(start=2, end=5, text='b'),)
    """
    return tuple(cue for cue in cues if cue.end > start and (end is None or cue.start < end))


def beside(cues: Iterable[Cue]) -> str:
    """The text that stands beside a video: a heading, a line a cue; empty without cues."""
    lines = [cue.line for cue in cues]
    return "\n".join([HEADER, *lines, ""]) if lines else ""


def _seconds(hours: str, minutes: str, seconds: str, fraction: str) -> float:
    return 3600 * int(hours) + 60 * int(minutes) + int(seconds) + int(fraction.ljust(3, "0")) / 1000
