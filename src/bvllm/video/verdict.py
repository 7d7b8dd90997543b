"""What there is to say about a video that was read: a line for each thing that is not as it should be.

The first word of a line names the finding: limit, truncated, io or damage; gaps, short and missing are only
hints, since headers lie.
"""

from dataclasses import dataclass

# A header may round its duration, or count the sound's last packet.
SLACK_SECONDS = 1.0


@dataclass(frozen=True)
class Evidence:
    """What was promised and what was found.

    Args:
        limit: name and value of the limit that ended the reading.
        ends_early: the container announces more bytes than the file has.
        damaged: packets and frames that did not decode cleanly.
        gaps: packets that arrived incomplete.
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

    @property
    def truncated(self) -> bool:
        """Whether there is more video than was read."""
        return self.ends_early or self.unreadable or self.limit is not None

    @property
    def warnings(self) -> tuple[str, ...]:
        """The findings, worst first."""
        lines = []
        if self.limit:
            lines.append(
                f"limit: stopped at Limits.{self.limit[0]} = {self.limit[1]:g}, the rest was not read"
            )
        if self.ends_early:
            lines.append(
                "truncated: the file ends before its container does, the end of the video is missing"
            )
        if self.unreadable:
            lines.append("io: the file could not be read to its end")
        if self.damaged:
            lines.append(f"damage: {self.damaged} packets or frames did not decode cleanly")
        if self.gaps:
            lines.append(f"gaps: {self.gaps} packets arrived incomplete")
        if self.complete and not self.limit:
            lines += self._broken_promises()
        return tuple(lines)

    def _broken_promises(self) -> list[str]:
        lines = []
        if self.claimed_frames and self.frames < self.claimed_frames:
            lines.append(
                f"missing: the header promises {self.claimed_frames} frames, the file has {self.frames}"
            )
        if self.claimed_seconds and self.seconds < self.claimed_seconds - SLACK_SECONDS:
            lines.append(
                f"short: the header promises {self.claimed_seconds:.1f} s, the file has {self.seconds:.1f} s"
            )
        return lines
