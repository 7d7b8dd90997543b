"""Every frame of the chosen stream, in display order, as far as the file can be decoded."""

from collections.abc import Iterator
from fractions import Fraction

import av
import av.error
from av.packet import Packet
from av.video.stream import VideoStream as AvVideoStream

from .clock import Clock
from .errors import VideoError
from .limits import Limits
from .opening import Opened
from .safe_open import said, too_large

MICROSECONDS = 1_000_000
ONE_PICTURE_EACH = frozenset({"h264", "hevc", "mpeg1video", "mpeg2video"})


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
        """How long the frame is shown, if the container says so."""
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
