"""Decode the chosen stream in display order, time its frames, describe it by container and first frame.

`Decoder` gives every frame as far as the file can be decoded. `FrameClock` keeps true presentation times
where the container gives them, and makes sane ascending ones where it does not. `Clock` is a stopwatch that
stands still while the consumer of the frames is at work.
"""

import math
import time
from collections.abc import Callable, Iterator
from fractions import Fraction

import av
import av.error
from av.packet import Packet
from av.video.stream import VideoStream as AvVideoStream

from .errors import VideoError
from .frames import FrameConverter
from .limits import Limits
from .opening import Opened
from .report import VideoInfo
from .safe_open import said, too_large

MICROSECONDS = 1_000_000
ONE_PICTURE_EACH = frozenset({"h264", "hevc", "mpeg1video", "mpeg2video"})
DEFAULT_RATE = 25.0  # what FFmpeg assumes for a stream without a clock
SMALLEST_STEP = 1e-6  # readings closer than this are the same moment
JUMP_SECONDS = 1.0  # a clock that falls back further than this was restarted, not jittered
# Broadcasts send pictures all the time: a longer silence in a transport stream is a clock that was set anew.
TRANSPORT_GAP = 60.0
SANE_PIXEL_RATIO = (0.01, 100.0)


class Clock:
    """Runs from the start; `pause` and `resume` it in one thread, read it in any.

    Args:
        idle: seconds that passed while it ran, but do not count.

    Example:
        >>> clock = Clock()
        >>> clock.pause()
        >>> clock.seconds() == clock.seconds()
        True
    """

    def __init__(self, idle: Callable[[], float] = lambda: 0.0) -> None:
        self._idle = idle
        self._state: tuple[float, float | None] = 0.0, time.monotonic()  # spent before, running since

    def seconds(self) -> float:
        """Time that ran so far."""
        return self._running() - self._idle()

    def _running(self) -> float:
        spent, since = self._state
        return spent if since is None else spent + time.monotonic() - since

    def pause(self) -> None:
        """Stands still from now on."""
        self._state = self._running(), None

    def resume(self) -> None:
        """Runs again."""
        self._state = self._running(), time.monotonic()


class FrameClock:
    """Turns the raw times of frames in display order into seconds since the first frame, strictly ascending.

    A missing, repeated or falling time is replaced: one frame after the one before where there is no clock,
    half of the smallest step seen where two frames share a time. The next good time is taken again, so
    errors do not pile up; a clock that was restarted (cut broadcasts) continues from where it stood.

    Args:
        frames_per_second: the stream's own rate; None or an absurd value means 25.
        longest_gap: a clock that jumps forward by more was restarted as well; None believes every jump.

    Example:
        >>> clock = FrameClock(10.0)
        >>> [round(clock.place(raw), 2) for raw in (None, None, 7.0, 7.1, 7.1, 7.2)], clock.substituted
        ([0.0, 0.1, 0.2, 0.3, 0.35, 0.4], 3)
    """

    def __init__(self, frames_per_second: float | None, longest_gap: float | None = None) -> None:
        sane = frames_per_second is not None and 1e-4 <= frames_per_second <= 10_000
        self.period = 1.0 / (frames_per_second if sane and frames_per_second is not None else DEFAULT_RATE)
        self.substituted = 0
        self.restarts = 0
        self._longest_gap = math.inf if longest_gap is None else longest_gap
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
        elif (
            self.last is not None
            and self._raw is not None
            and not self._raw - JUMP_SECONDS <= raw <= self._raw + self._longest_gap
        ):
            self.restarts += 1
            self._offset = self.last + self.period - raw
        seconds = raw + self._offset
        return seconds if self.last is None or seconds >= self.last + SMALLEST_STEP / 2 else None

    def _beside(self, raw: float | None) -> float:
        if self.last is None:
            return 0.0
        if raw is None or self._step is None:
            return self.last + self.period
        return self.last + min(self.period, self._step / 2)


class Decoder:
    """Decodes one stream and counts what went wrong on the way; never keeps more than one frame.

    A damaged packet costs its own frames only. A limit that is reached ends the iteration and leaves its
    name in `stopped`.
    """

    def __init__(self, opened: Opened, limits: Limits, clock: Clock) -> None:
        self.packets = 0
        self.gaps = 0  # packets that the demuxer knows to be incomplete
        self.hidden = 0  # packets that an edit list does not show
        self.interlaced = False
        self.frames = 0
        self.errors = 0
        self.patched = 0  # frames that the decoder itself calls corrupt
        self.stopped: str | None = None
        self.finished = False
        self._opened = opened
        self._stream = stream = opened.stream
        self._limits = limits
        self._max_pixels = opened.max_pixels
        self._clock = clock
        # The stream's, since the last frames out of a decoder do not know theirs.
        self._tick = stream.time_base or Fraction(1, MICROSECONDS)

    def __iter__(self) -> Iterator[av.VideoFrame]:
        for packet in self._packets():
            for frame in self._decode(packet):
                if frame.width * frame.height > self._max_pixels:
                    self._stop("max_pixels")
                    break
                self.frames += 1
                self.patched += bool(frame.is_corrupt)
                self.interlaced = self.interlaced or bool(frame.interlaced_frame)
                yield frame
                if self.frames >= self._limits.max_decoded_frames:
                    self._stop("max_decoded_frames")
                    break
            if self._clock.seconds() > self._limits.max_wall_seconds:
                self._stop("max_wall_seconds")
            if self.errors >= self._limits.max_errors:
                self._stop("max_errors")
            if self.stopped:
                return
        self.finished = True

    @property
    def lost(self) -> int:
        """Packets that gave no picture and no error, as after a cut in the middle of a group of pictures.

        Known only where each packet holds one picture.
        """
        if not self.finished or self.interlaced or self._stream.codec_context.name not in ONE_PICTURE_EACH:
            return 0
        return max(0, self.packets - self.hidden - self.frames - self.errors)

    def seconds(self, frame: av.VideoFrame) -> float | None:
        """The presentation time the container gives, in its own clock."""
        return None if frame.pts is None else float(frame.pts * self._tick)

    def lasts(self, frame: av.VideoFrame) -> float | None:
        """Seconds that the frame is shown, if the container stores a duration."""
        return float(frame.duration * self._tick) if frame.duration else None

    def _stop(self, limit: str) -> None:
        self.stopped = self.stopped or limit

    def _packets(self) -> Iterator["Packet[AvVideoStream] | None"]:
        """The stream's packets, then None to flush the decoder."""
        source = self._opened.container.demux(self._stream)
        while True:
            try:
                packet = next(source)
            except (
                StopIteration,
                IndexError,
            ):  # PyAV 18.1 raises IndexError where a stream appeared after opening
                self._opened.check()
                break
            except av.FFmpegError:
                self._opened.check()
                self.errors += 1
                break
            self._opened.check()
            if packet.size:
                self.packets += 1
                self.gaps += packet.is_corrupt
                self.hidden += packet.is_discard
                yield packet
        yield None

    def _decode(self, packet: "Packet[AvVideoStream] | None") -> list[av.VideoFrame]:
        try:
            return self._stream.codec_context.decode(packet)
        except av.error.EOFError:
            return []
        except (MemoryError, av.error.MemoryError):
            raise VideoError(
                "limit", "video must decode in memory, got one that does not: lower its size"
            ) from None
        except (av.FFmpegError, ValueError) as error:
            self.errors += 1
            if "pixel" in said(error) or "Picture size" in said(error):
                if not self.frames:
                    raise too_large(self._max_pixels) from None
                self._stop("max_pixels")
            return []


def rate_of(stream: AvVideoStream) -> float | None:
    """Frames per second as the container claims."""
    rate: Fraction | None = stream.average_rate or stream.guessed_rate
    return float(rate) if rate else None


def describe(
    opened: Opened, frame: av.VideoFrame, converter: FrameConverter, claimed: float | None, rate: float | None
) -> VideoInfo:
    """The claims of the container beside the facts of the first frame.

    Args:
        claimed: see `claimed_seconds`.
        rate: see `rate_of`.
    """
    height, width = converter.shown_size(frame)
    orientation = converter.orientation(frame)
    container, stream = opened.container, opened.stream
    return VideoInfo(
        container=container.format.name,
        codec=stream.codec_context.codec.canonical_name,
        width=width,
        height=height,
        stored_width=frame.width,
        stored_height=frame.height,
        rotation=orientation.rotation,
        mirrored=orientation.mirrored,
        pixel_format=frame.format.name,
        duration_seconds=claimed
        or (container.duration / MICROSECONDS if container.duration is not None else None)
        or None,
        frame_rate=rate,
        frames=stream.frames or None,
        bytes=max(0, container.size),  # none of a file that is still being written
        still=opened.still,
    )


def claimed_seconds(stream: AvVideoStream) -> float | None:
    """Duration of the stream by the container's header, in seconds."""
    return float(stream.duration * (stream.time_base or 0)) if stream.duration else None


def pixel_ratio(stream: AvVideoStream) -> float:
    """Width of a stored pixel over its height."""
    ratio = float(stream.sample_aspect_ratio or 1)
    low, high = SANE_PIXEL_RATIO
    return ratio if low <= ratio <= high else 1.0
