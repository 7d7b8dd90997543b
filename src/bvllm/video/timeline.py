"""True presentation times where the container gives them, sane ascending ones where it does not."""

DEFAULT_RATE = 25.0  # what FFmpeg assumes for a stream without a clock
SMALLEST_STEP = 1e-6  # readings closer than this are the same moment
JUMP_SECONDS = 1.0  # a clock that falls back further than this was restarted, not jittered


class Timeline:
    """Turns the raw times of frames in display order into seconds since the first frame, strictly ascending.

    A missing, repeated or falling time is replaced: one frame after the one before where there is no clock,
    half of the smallest step seen where two frames share a time. The next good time is taken again, so
    errors do not pile up; a clock that was restarted (cut broadcasts) continues from where it stood.

    Args:
        frames_per_second: the stream's own rate; None or an absurd value means 25.

    Example:
        >>> timeline = Timeline(10.0)
        >>> [round(timeline.place(raw), 2) for raw in (None, None, 7.0, 7.1, 7.1, 7.2)], timeline.substituted
        ([0.0, 0.1, 0.2, 0.3, 0.35, 0.4], 3)
    """

    def __init__(self, frames_per_second: float | None) -> None:
        sane = frames_per_second is not None and 1e-4 <= frames_per_second <= 10_000
        self.period = 1.0 / (frames_per_second if sane and frames_per_second is not None else DEFAULT_RATE)
        self.substituted = 0
        self.last: float | None = None
        self._raw: float | None = None
        self._offset: float | None = None
        self._step: float | None = None

    def place(self, raw: float | None) -> float:
        """Seconds since the first frame, later than every frame before."""
        seconds = self._trusted(raw)
        if seconds is None:
            self.substituted += 1
            seconds = self._beside(raw)
        if raw is not None:
            if self._raw is not None and raw >= self._raw + SMALLEST_STEP:
                self._step = min(raw - self._raw, self._step or raw - self._raw)
            self._raw = raw
        self.last = seconds
        return seconds

    def _trusted(self, raw: float | None) -> float | None:
        if raw is None:
            return None
        if self._offset is None:  # the first clock reading: frames before it had none
            self._offset = (0.0 if self.last is None else self.last + self.period) - raw
        elif self.last is not None and self._raw is not None and raw < self._raw - JUMP_SECONDS:
            self._offset = self.last + self.period - raw
        seconds = raw + self._offset
        return seconds if self.last is None or seconds >= self.last + SMALLEST_STEP / 2 else None

    def _beside(self, raw: float | None) -> float:
        if self.last is None:
            return 0.0
        if raw is None or self._step is None:
            return self.last + self.period
        return self.last + min(self.period, self._step / 2)
