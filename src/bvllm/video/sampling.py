"""Choose which frames to keep: one every 1/fps seconds, or all, with an optional cap."""

import math
from dataclasses import dataclass

# Two clocks that mean the same moment may differ by rounding; a microsecond is far below any frame's length.
TOLERANCE = 1e-6


@dataclass(frozen=True)
class SamplingPlan:
    """What to keep of a video.

    Targets lie at k / fps seconds after the first frame. Each target takes the first frame at or after it;
    a frame that answers several targets (a slide that stays for a minute) is kept once. Of a part of a video
    the targets begin at its start; times stay those of the whole video.

    Args:
        fps: targets per second; None keeps every frame.
        max_frames: at most so many frames. A longer plan is thinned evenly: the middle targets of
            `max_frames` equal parts stay, so what a capped plan keeps is a part of what the plan alone
            would keep.
        start, end: seconds since the first frame between which frames are kept, the end excluded; None is the
            end of the video.

    Raises:
        ValueError: a number is out of range, or the part is empty.

    Example:
        >>> SamplingPlan(fps=2.0, max_frames=64).part
        'the whole video'
        >>> SamplingPlan(start=5.0, end=9.5).part
        '5 to 9.5 s'
    """

    fps: float | None = 1.0
    max_frames: int | None = None
    start: float = 0.0
    end: float | None = None

    def __post_init__(self) -> None:
        if self.fps is not None and not (self.fps > 0 and math.isfinite(self.fps)):
            raise ValueError(f"fps must be positive, got {self.fps}: use 1.0, or None for every frame")
        if self.max_frames is not None and self.max_frames < 1:
            raise ValueError(f"max_frames must be at least 1, got {self.max_frames}: use None for no cap")
        if not (0 <= self.start < math.inf and (self.end is None or self.start < self.end < math.inf)):
            raise ValueError(
                f"end must be after start, and start at least 0, got {self.start} to {self.end}: give "
                "seconds since the first frame"
            )

    @property
    def is_part(self) -> bool:
        """Whether frames of a part of the video are kept, not of all of it."""
        return self.start > 0 or self.end is not None

    @property
    def part(self) -> str:
        """The part in words."""
        if not self.is_part:
            return "the whole video"
        return f"{self.start:g} s to the end" if self.end is None else f"{self.start:g} to {self.end:g} s"

    def within(self, seconds: float) -> bool:
        """Whether a frame at this time lies in the part."""
        return seconds >= self.start - TOLERANCE and not self.is_over(seconds)

    def is_over(self, seconds: float) -> bool:
        """Whether a frame at this time, and all after it, lie behind the part."""
        return self.end is not None and seconds >= self.end - TOLERANCE

    def targets(self, frames: int, seconds: float) -> int:
        """How many targets a video of so many frames and so many seconds has.

        Of a part of which every frame is kept it is an estimate: as if frames came evenly.
        """
        here = max(0.0, (seconds if self.end is None else min(seconds, self.end)) - self.start)
        if self.fps is None:
            return math.ceil(frames * here / seconds) if self.is_part and seconds > 0 else frames
        return max(1, math.ceil(here * self.fps - TOLERANCE)) if frames else 0


class Picker:
    """Walks over frames in time and says which to keep; remembers a few numbers, whatever the length.

    Works on a position axis where targets are whole numbers: seconds x fps, or the frame's ordinal if every
    frame is wanted.

    Args:
        plan: what to keep.
        planned: number of targets of the whole video, needed only to thin them to `plan.max_frames`.

    Example:
        >>> picker = Picker(SamplingPlan(fps=1.0))
        >>> [picker.take(i, seconds) for i, seconds in enumerate([0.0, 0.4, 0.8, 1.2, 1.6, 4.0])]
        [True, False, False, True, False, True]
        >>> picker.asked, picker.got  # targets 0 to 4; the last frame answers three of them
        (5, 3)
    """

    def __init__(self, plan: SamplingPlan, planned: int | None = None) -> None:
        self.plan = plan
        self.asked = 0
        self.got = 0
        cap = plan.max_frames
        self._first: int | None = None  # ordinal of the first frame in the part
        self._thin = (planned, cap) if cap is not None and planned is not None and planned > cap else None

    def take(self, ordinal: int, seconds: float) -> bool:
        """Whether the frame answers a target that no frame before it answered."""
        if not self.plan.within(seconds):
            return False
        self._first = ordinal if self._first is None else self._first
        fps = self.plan.fps
        position = float(ordinal - self._first) if fps is None else (seconds - self.plan.start) * fps
        return self._reach(math.floor(position + TOLERANCE * (self.plan.fps or 1.0)) + 1)

    def close(self, end_seconds: float, *, can_stand_in: bool) -> bool:
        """Whether the last frame must stand in for targets between it and the end of the video.

        It does so, too, where no frame was kept at all: as long as there is a frame, there is one to show.
        """
        if self.plan.is_part:
            end_seconds = min(end_seconds, math.inf if self.plan.end is None else self.plan.end)
            end_seconds -= self.plan.start
            can_stand_in = can_stand_in and self._first is not None and self.plan.end is None
        if not self.got and can_stand_in:
            self.asked, self.got = max(self.asked, 1), 1
            return True
        if self.plan.fps is None:
            return False
        return self._reach(math.ceil((end_seconds - TOLERANCE) * self.plan.fps), usable=can_stand_in)

    def _reach(self, whole: int, *, usable: bool = True) -> bool:
        reached = self._thinned(whole)
        room = self.plan.max_frames is None or self.got < self.plan.max_frames
        fresh = usable and room and reached > self.asked
        self.asked = max(self.asked, reached)
        self.got += fresh
        return fresh

    def _thinned(self, whole: int) -> int:
        """How many of the first `whole` targets stay when n are thinned to m: (2j+1) n < 2 m whole."""
        if self._thin is None:
            return whole
        n, m = self._thin
        return max(0, min(m, -(-(2 * whole * m - n) // (2 * n))))
