"""Read the frames of a file: opened safely, decoded in order or in part, sampled by true time."""

from array import array
from collections.abc import Generator, Iterator
from typing import Literal

import av
from torch import Tensor

from .decode import (
    TRANSPORT_GAP,
    Clock,
    Decoder,
    FrameClock,
    claimed_seconds,
    describe,
    pixel_ratio,
    rate_of,
)
from .errors import VideoError
from .frame_map import FrameMap
from .frames import FrameConverter
from .growing import GrowingFile
from .limits import Limits
from .opening import Opened, VideoFile
from .packet_map import PacketMap
from .parallel import UNLIMITED, CpuSlots
from .ranges import Stopped, Unproven
from .read_warnings import ReadFacts
from .report import VideoReport
from .safe_open import FileSource
from .sampling import Picker, SamplingPlan
from .sparse import DecodePlan, Pictures, plan_decoding
from .wanted_frames import WantedFrames, end_of

NO_TIME = -(1 << 63)
Decode = Literal["auto", "all"]


class FileFrames:
    """Iterates over (picture, seconds) of the frames that the plan keeps; `info` is known from the start."""

    def __init__(
        self,
        source: FileSource | GrowingFile,
        plan: SamplingPlan,
        limits: Limits,
        size: tuple[int, int] | None,
        threads: int,
        *,
        decode: Decode = "auto",
        first: int = 0,
        cpu_slots: CpuSlots = UNLIMITED,
    ) -> None:
        growing = source if isinstance(source, GrowingFile) else None
        self._clock = Clock() if growing is None else Clock(growing.waiting())
        self._video = VideoFile(source, limits)
        self._size = size
        self._plan, self._limits, self._threads, self._cpu_slots = plan, limits, threads, cpu_slots
        self._partly, self._skip = decode == "auto" and growing is None, first
        self._decode_plan = DecodePlan()
        self._sparse: Pictures | None = None
        self._pts = array("q")  # of the frames that the plan took so far, where there is a packet map
        self._pictures: Generator[Tensor] | None = None
        self._opened: Opened | None = None
        self._others = ""
        self._picker = Picker(plan)
        self._asked, self._got, self._end = 0, 0, 0.0
        self._limit: str | None = None
        self._complete = False
        try:
            self._open()
        except BaseException:  # also on an interrupt: a descriptor must not leak
            self.close()
            raise

    def _open(self) -> None:
        opened, first = self._begin()
        photo = self._video.photo.orientation if opened.still else None
        self._converter = FrameConverter(self._size, pixel_ratio(opened.stream), photo, opened.max_pixels)
        self._claimed = claimed_seconds(opened.stream)
        self.info = describe(opened, first, self._converter, self._claimed, self._rate)
        self._clock.pause()

    def _begin(self) -> tuple[Opened, av.VideoFrame]:
        """Opens the video at its beginning and decodes the first frame."""
        opened = self._opened = self._video.open(self._threads)
        self._others = _others(opened, self._video)
        self._decoder = Decoder(opened, self._limits, self._clock)
        self._rate = rate_of(opened.stream)
        transport = opened.container.format.name == "mpegts"
        self._timeline = FrameClock(self._rate, TRANSPORT_GAP if transport else None)
        self._frames = iter(self._decoder)
        first = self._first = next(self._frames, None)
        if first is None:
            raise _nothing_decoded(self._decoder.stopped)
        return opened, first

    def __iter__(self) -> Iterator[tuple[Tensor, float]]:
        self._clock.resume()
        if self._opened is not None:
            self._decode_plan = plan_decoding(
                self._video, self._opened, self._plan, self._limits, self._clock, partly=self._partly
            )
        found = self._decode_plan
        self._picker = Picker(self._plan, found.planned)
        if (
            found.wanted_frames is None
            or found.packet_map is None
            or not self._starts_as_promised(found.packet_map)
        ):
            yield from self._everything()
            return
        try:
            yield from self._part(found.packet_map, found.wanted_frames)
        except Unproven:
            yield from self._everything_after_all()

    def _starts_as_promised(self, packet_map: PacketMap) -> bool:
        clean = not (self._decoder.errors or self._decoder.patched or self._decoder.interlaced)
        return clean and self._first is not None and self._first.pts == packet_map.pts_shown(0)

    def _everything(self, known: int = 0) -> Iterator[tuple[Tensor, float]]:
        """Decode all frames; the caller already has the first `known` of those that the plan takes."""
        frame, self._first = self._first, None  # not held: one decoded frame at a time
        ordinal, kept, seconds = 0, False, 0.0
        while frame is not None:
            seconds = self._timeline.place(self._decoder.seconds(frame))
            if seconds > self._limits.max_seconds:
                self._limit = "max_seconds"
                break
            if self._plan.is_over(seconds):
                break
            self._end = min(
                seconds + (self._decoder.lasts(frame) or self._timeline.period), self._limits.max_seconds
            )
            kept = self._picker.take(ordinal, seconds)
            if kept:
                yield from self._take(frame, seconds, known)
            self._asked = self._picker.asked
            ordinal += 1
            last, frame = frame, next(self._frames, None)
        self._video.inspect_again()
        if self._picker.close(self._end, can_stand_in=not kept):
            yield from self._take(last, seconds, known)
        self._asked = self._picker.asked
        self._check_part()
        self._complete = True

    def _check_part(self) -> None:
        """Refuse a part of the video in which no frame lies."""
        if self._plan.is_part and not self._got and not self._limit:
            raise VideoError(
                "usage",
                f"video must show a frame from {self._plan.part}, got none: name another part of it",
            )

    def _take(self, frame: av.VideoFrame, seconds: float, known: int) -> Iterator[tuple[Tensor, float]]:
        """Yield a frame unless the caller already has it; then check that it is the same frame."""
        place = self._got
        self._asked, self._got = self._picker.asked, place + 1
        self._note(place, NO_TIME if frame.pts is None else frame.pts, known)
        if place >= max(known, self._skip):
            picture = self._converter.convert(frame)
            self._clock.pause()
            yield picture, seconds
            self._clock.resume()

    def _note(self, place: int, pts: int, known: int) -> None:
        """Record the pts of a taken frame; raise if it differs from the one already yielded."""
        if self._skip <= place < known and pts != self._pts[place]:
            raise VideoError(
                "corrupt", "video must give the same frames each time, got others: check or convert the file"
            )
        if self._decode_plan.packet_map is not None and place == len(self._pts):
            self._pts.append(pts)

    def _part(self, packet_map: PacketMap, wanted_frames: WantedFrames) -> Iterator[tuple[Tensor, float]]:
        """Decode the ranges of the chosen frames, and the last frame as a check."""
        self._first = None
        self._let_go()
        places = wanted_frames.places[self._skip :]
        wanted = [packet_map.pts_shown(place) for place in places]
        check = packet_map.pts_shown(wanted_frames.last)
        ranges = packet_map.ranges(wanted if wanted and wanted[-1] == check else [*wanted, check])
        self._pts.extend(packet_map.pts_shown(place) for place in wanted_frames.places[: self._skip])
        self._got = len(self._pts)
        sparse = self._sparse = Pictures(
            self._video,
            packet_map,
            ranges,
            self._size,
            self._limits,
            self._clock,
            self._threads,
            self._cpu_slots,
        )
        pictures = self._pictures = sparse.pictures()
        try:
            for place, picture in zip(places, pictures):
                self._pts.append(packet_map.pts_shown(place))
                self._asked = wanted_frames.asked[self._got]
                self._got += 1
                self._end = end_of(packet_map, place, self._limits, self._timeline.period)
                self._clock.pause()
                yield picture, float(packet_map.seconds[place])
                self._clock.resume()
            for _ in pictures:
                pass  # the check
            self._asked, self._end = wanted_frames.asked[-1], wanted_frames.end
            self._check_part()
            self._limit = "max_seconds" if wanted_frames.too_long else None
        except Stopped as stopped:
            self._limit = str(stopped)
        finally:
            pictures.close()
        self._complete = True

    def _everything_after_all(self) -> Iterator[tuple[Tensor, float]]:
        """A check failed: decode from the beginning, and yield only frames not yielded before."""
        known = self._got
        self._sparse, self._asked, self._got = None, 0, 0
        self._decode_plan = DecodePlan(self._decode_plan.planned)
        self._begin()
        yield from self._everything(known)

    @property
    def frame_map(self) -> FrameMap | None:
        """Where the sampled frames lie, once all were read and if they can be found again."""
        packet_map, decoder = self._decode_plan.packet_map, self._decoder
        broken = not self._sparse and (
            decoder.errors or decoder.patched or decoder.lost or decoder.interlaced
        )
        if packet_map is None or not self._complete or broken or not packet_map.shows(self._pts):
            return None
        return FrameMap.of(packet_map, self._pts)

    @property
    def report(self) -> VideoReport:
        """Counts so far, and the warnings about the file."""
        facts, decoder = self._facts(), self._decoder
        return VideoReport(
            asked=self._asked,
            got=self._got,
            skipped=self._asked - self._got,
            substituted=self._timeline.substituted,
            decoded=self._sparse.decoded if self._sparse else decoder.frames,
            damaged=facts.damaged,
            seconds=self._end,
            warnings=facts.warnings,
            truncated=facts.truncated,
            complete=self._complete,
            sparse=self._sparse is not None,
        )

    def _facts(self) -> ReadFacts:
        decoder, sparse = self._decoder, self._sparse
        limit = self._limit or (None if sparse else decoder.stopped)
        packet_map = self._decode_plan.packet_map if sparse else None
        return ReadFacts(
            limit=(limit, float(self._limits.__dict__[limit])) if limit else None,
            ends_early=self._video.structure.ends_early,
            damaged=0 if sparse else decoder.errors + decoder.patched + decoder.lost,
            gaps=0 if sparse else decoder.gaps,
            restarts=0 if sparse else self._timeline.restarts,
            others=self._others,
            unreadable=self._video.failed,
            frames=decoder.packets if packet_map is None else len(packet_map),
            seconds=self._end,
            claimed_frames=self.info.frames if self._video.structure.counts_frames else None,
            claimed_seconds=self._claimed,
            complete=self._complete and not self._plan.is_part,  # a part keeps no promises for the whole
        )

    def _let_go(self) -> None:
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def close(self) -> None:
        """Closes what we opened."""
        if self._pictures is not None:
            self._pictures.close()
        self._let_go()
        self._video.close()


def _others(opened: Opened, video: VideoFile) -> str:
    """What of the file is not read, in words; empty where that is nothing."""
    if opened.passed_over:
        codec = opened.stream.codec_context
        size = f"{codec.width}x{codec.height}"
        return (
            f"{opened.passed_over + 1} video streams in one file, that of {size} is read: a moving one "
            "before a still, then the default, then the largest"
        )
    if opened.still and video.photo.end is not None:
        return "more lies behind the first picture of the file, as phones write it: the first alone is read"
    return ""


def _nothing_decoded(limit: str | None) -> VideoError:
    if limit:
        return VideoError(
            "limit", f"video must give a frame within Limits.{limit}, got none: raise that limit"
        )
    return VideoError(
        "corrupt", "video must hold a frame that can be decoded, got none: check or convert the file"
    )
