"""Decode ranges of packets: seek to the entry, decode to the stop, check every frame against the walk."""

from collections.abc import Callable, Iterator
from typing import Protocol

import av
import av.error
from av.packet import Packet
from av.video.stream import VideoStream as AvVideoStream

from .decode import Clock, pixel_ratio
from .frames import FrameConverter
from .limits import Limits
from .opening import Opened
from .packet_map import PacketRange

SEEK_OVER = 256  # packets; fewer are read past faster than a seek takes
# The decoder fails where it would otherwise conceal damage: it conceals with frames that a range leaves out.
STRICT = "explode+crccheck+bitstream+buffer"
LOOK_AHEAD = 4096  # packets to read in search of the wanted one, where a seek came out early


class Guide(Protocol):
    """What `RangeDecoder` needs to know of a stream: a `PacketMap` or a `FrameMap`."""

    @property
    def depth(self) -> int:
        """Pictures that the decoder buffers to put them in order."""

    @property
    def nonref(self) -> bool:
        """True if the decoder may skip pictures that no other picture refers to."""

    def packet(self, number: int) -> tuple[int, int] | None:
        """pts and bytes of a packet, counted in decoding order; None if not known."""


class Unproven(Exception):
    """A packet or frame differs from the walk over the packets: decode the whole stream instead."""


class Stopped(Exception):
    """A limit ended the work (its name is the text), or the consumer closed the stream ("")."""


class RangeDecoder:
    """Decodes ranges of one stream, best in ascending order; one for each thread.

    Args:
        reopen: opens the video anew, at its first packet.
        halted: called before each packet; `Stopped` is raised once it returns True.
    """

    def __init__(
        self,
        reopen: Callable[[], Opened],
        guide: Guide,
        limits: Limits,
        clock: Clock,
        halted: Callable[[], bool] = lambda: False,
    ) -> None:
        self.decoded = 0
        self._reopen = reopen
        self._guide = guide
        self._limits = limits
        self._clock = clock
        self._halted = halted
        self._opened: Opened | None = None
        self._packets: Iterator[Packet[AvVideoStream]] = iter(())
        self._held: Packet[AvVideoStream] | None = None
        self._next = 0  # number of the packet that comes next
        self._seeks = True

    def frames(self, part: PacketRange) -> Iterator[av.VideoFrame]:
        """Decode the wanted frames of a range, in order.

        Raises:
            Unproven: before a frame that differs from the walk.
            Stopped: at a limit.
        """
        opened = self._go_to(part.entry)
        wanted, left, last = set(part.wanted), iter(part.wanted), None
        expected = next(left, None)
        for frame in self._decode_range(opened, part, wanted):
            self.decoded += 1
            pts = frame.pts
            if pts is None or (last is not None and pts <= last) or self._is_strange(frame, opened):
                raise Unproven
            last = pts
            if pts in wanted:
                if pts != expected:
                    raise Unproven
                expected = next(left, None)
                yield frame
                if expected is None:
                    return
        raise Unproven

    def converter(self, size: tuple[int, int] | None) -> FrameConverter:
        """Build the converter for this stream's frames; call it after the first frame was decoded."""
        assert self._opened is not None
        return FrameConverter(size, pixel_ratio(self._opened.stream), None, self._opened.max_pixels)

    def close(self) -> None:
        """Close the container."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def _decode_range(self, opened: Opened, part: PacketRange, wanted: set[int]) -> Iterator[av.VideoFrame]:
        context = opened.stream.codec_context
        context.flush_buffers()
        if context.reorder_depth < self._guide.depth:  # a flush makes the decoder forget it
            context.reorder_depth = self._guide.depth
        context.skip_frame = "DEFAULT"
        skips = False
        try:
            while self._next <= part.stop:
                packet = self._read()
                if self._guide.nonref and skips != (packet.pts not in wanted):
                    skips = not skips
                    context.skip_frame = "NONREF" if skips else "DEFAULT"
                yield from context.decode(packet)
            yield from context.decode(None)
        except (av.FFmpegError, ValueError, MemoryError):
            raise Unproven from None

    def _is_strange(self, frame: av.VideoFrame, opened: Opened) -> bool:
        """True for frames we cannot verify: damaged, interlaced, or larger than the limits."""
        large = frame.width * frame.height > opened.max_pixels
        return bool(frame.is_corrupt) or bool(frame.interlaced_frame) or large

    def _read(self) -> "Packet[AvVideoStream]":
        """Read the next packet; raise `Unproven` if its pts or size differ from the walk."""
        packet, self._held = self._held or self._step(), None
        promised = self._guide.packet(self._next)
        if promised is not None and promised != (packet.pts, packet.size):
            raise Unproven
        self._next += 1
        return packet

    def _step(self) -> "Packet[AvVideoStream]":
        if self._halted():
            raise Stopped("")
        if self._clock.seconds() > self._limits.max_wall_seconds:
            raise Stopped("max_wall_seconds")
        try:
            while not (packet := next(self._packets)).size:
                pass
        except (StopIteration, IndexError, av.FFmpegError):
            self._check()
            raise Unproven from None
        self._check()
        return packet

    def _check(self) -> None:
        if self._opened is not None:
            self._opened.check()

    def _go_to(self, number: int) -> Opened:
        """Make a packet the next one: read on if it is near, else seek, else read from the beginning."""
        opened, ahead = self._opened, number - self._next
        far = not 0 <= ahead <= SEEK_OVER and number > SEEK_OVER
        if self._seeks and (far or (opened is None and number > SEEK_OVER)):
            opened = opened or self._open()
            self._seeks = self._seek(opened, number)
            if self._seeks:
                return opened
            self._next = number + 1  # somewhere
        if opened is None or self._next > number:
            opened = self._open()
        while self._next < number:
            self._read()
        return opened

    def _open(self) -> Opened:
        self.close()
        opened = self._opened = self._reopen()
        context = opened.stream.codec_context
        context.options = {**context.options, "err_detect": STRICT}
        self._packets, self._next, self._held = opened.container.demux(opened.stream), 0, None
        self._show_the_first(opened)
        return opened

    def _show_the_first(self, opened: Opened) -> None:
        """Decode the first packet, as a full decode does: it alone may hold settings or the encoder version.

        Decoders keep both when they are flushed, and some change their arithmetic by the version.
        """
        self._held = self._step()
        try:
            opened.stream.codec_context.decode(self._held)
        except (av.FFmpegError, ValueError, MemoryError):
            raise Unproven from None

    def _seek(self, opened: Opened, number: int) -> bool:
        """Seek, then read on to the packet; False if it is not among the next `LOOK_AHEAD`."""
        promised = self._guide.packet(number)
        if promised is None:
            return False
        try:
            opened.container.seek(promised[0], stream=opened.stream)
            self._packets = opened.container.demux(opened.stream)
            for _ in range(LOOK_AHEAD):
                packet = self._step()
                if packet.is_keyframe and promised == (packet.pts, packet.size):
                    self._held, self._next = packet, number
                    return True
        except (av.FFmpegError, OverflowError, Unproven):
            pass
        return False
