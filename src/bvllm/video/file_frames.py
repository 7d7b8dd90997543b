"""Frames of a file: opened safely, decoded in order, sampled by their true time."""

from collections.abc import Iterator

import av
from av.container import InputContainer
from av.video.stream import VideoStream as AvVideoStream
from torch import Tensor

from .clock import Clock
from .decode import MICROSECONDS, Decoder, rate_of
from .errors import VideoError
from .exif import photo_orientation
from .limits import Limits
from .orientation import Orientation
from .picture import Developer
from .report import VideoInfo, VideoReport
from .safe_open import (
    STILL_FORMATS,
    NamelessReader,
    choose_stream,
    file_fails,
    open_container,
    prepare_decoder,
)
from .sampling import Picker, SamplingPlan
from .sources import FileSource, open_source
from .span import measure
from .structure import Structure, inspect
from .timeline import Timeline
from .verdict import Evidence

SANE_PIXEL_RATIO = (0.01, 100.0)


class FileFrames:
    """Iterates over (picture, seconds) of the frames that the plan keeps; `info` is known from the start."""

    def __init__(
        self,
        source: FileSource,
        plan: SamplingPlan,
        limits: Limits,
        size: tuple[int, int] | None,
        threads: int,
    ) -> None:
        self._file = open_source(source, limits)
        self._owned = self._file is not source
        self._limits = limits
        self._reader = NamelessReader(self._file)
        self._structure, self._photo = Structure(), Orientation()
        self._threads = threads
        self._clock = Clock()
        self._container: InputContainer | None = None
        self._end = 0.0
        self._too_long = False
        self._complete = False
        try:
            self._open(plan, size)
        except BaseException:  # also on an interrupt: a descriptor must not leak
            self.close()
            raise

    def _open(self, plan: SamplingPlan, size: tuple[int, int] | None) -> None:
        self._look()
        planned = None
        if plan.max_frames is not None:
            with self._open_container() as container:
                planned = plan.targets(
                    *measure(container, choose_stream(container), self._limits, self._clock)
                )
        container = self._container = self._open_container()
        stream = choose_stream(container)
        still = container.format.name in STILL_FORMATS
        max_pixels = self._limits.max_image_pixels if still else self._limits.max_pixels
        prepare_decoder(stream, max_pixels=max_pixels, threads=self._threads)
        self._developer = Developer(size, _pixel_ratio(stream), self._photo if still else None)
        self._decoder = Decoder(container, stream, self._limits, max_pixels, self._clock)
        self._timeline = Timeline(rate_of(stream))
        self._picker = Picker(plan, planned)
        self._frames = iter(self._decoder)
        self._first = next(self._frames, None)
        if self._first is None:
            raise _nothing_decoded(self._decoder.stopped)
        self._claimed = float(stream.duration * (stream.time_base or 0)) if stream.duration else None
        self.info = self._describe(container, stream, self._first, still=still)
        self._clock.pause()

    def _look(self) -> None:
        """What can be learnt from the bytes before FFmpeg sees them."""
        try:
            self._structure = inspect(self._file)
            self._photo = photo_orientation(self._file)
        except VideoError:
            raise
        except Exception:  # a caller's file object may raise anything
            raise file_fails() from None
        self._reader = NamelessReader(self._file, self._structure.readable)

    def _open_container(self) -> InputContainer:
        self._reader.seek(0)
        most = max(self._limits.max_pixels, self._limits.max_image_pixels)
        return open_container(
            self._reader, max_pixels=most, threads=self._threads, mp4_checked=self._structure.is_mp4
        )

    def __iter__(self) -> Iterator[tuple[Tensor, float]]:
        frame, self._first = self._first, None  # not held: one decoded frame at a time
        ordinal, kept, seconds = 0, False, 0.0
        self._clock.resume()
        while frame is not None:
            seconds = self._timeline.place(self._decoder.seconds(frame))
            if seconds > self._limits.max_seconds:
                self._too_long = True
                break
            self._end = min(
                seconds + (self._decoder.lasts(frame) or self._timeline.period), self._limits.max_seconds
            )
            kept = self._picker.take(ordinal, seconds)
            if kept:
                yield self._hand_on(frame), seconds
                self._clock.resume()
            ordinal += 1
            last, frame = frame, next(self._frames, None)
        if self._picker.close(self._end, can_stand_in=not kept):
            yield self._hand_on(last), seconds
        self._complete = True

    def _hand_on(self, frame: av.VideoFrame) -> Tensor:
        picture = self._developer.develop(frame)
        self._clock.pause()
        return picture

    @property
    def report(self) -> VideoReport:
        """Counts so far, and what there is to say about the file."""
        evidence, picker = self._evidence(), self._picker
        return VideoReport(
            asked=picker.asked,
            got=picker.got,
            skipped=picker.asked - picker.got,
            substituted=self._timeline.substituted,
            decoded=self._decoder.frames,
            damaged=evidence.damaged,
            seconds=self._end,
            warnings=evidence.warnings,
            truncated=evidence.truncated,
            complete=self._complete,
        )

    def _evidence(self) -> Evidence:
        decoder = self._decoder
        limit = "max_seconds" if self._too_long else decoder.stopped
        return Evidence(
            limit=(limit, float(self._limits.__dict__[limit])) if limit else None,
            ends_early=self._structure.ends_early,
            damaged=decoder.errors + decoder.patched + decoder.lost,
            gaps=decoder.gaps,
            unreadable=self._reader.failed,
            frames=decoder.packets,
            seconds=self._end,
            claimed_frames=self.info.frames if self._structure.counts_frames else None,
            claimed_seconds=self._claimed,
            complete=self._complete,
        )

    def _describe(
        self, container: InputContainer, stream: AvVideoStream, frame: av.VideoFrame, *, still: bool
    ) -> VideoInfo:
        height, width = self._developer.shown_size(frame)
        orientation = self._developer.orientation(frame)
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
            duration_seconds=_claimed_seconds(container, stream),
            frame_rate=rate_of(stream),
            frames=stream.frames or None,
            bytes=container.size,
            still=still,
        )

    def close(self) -> None:
        """Closes what we opened."""
        if self._container is not None:
            self._container.close()
        if self._owned:
            self._file.close()


def _claimed_seconds(container: InputContainer, stream: AvVideoStream) -> float | None:
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return container.duration / MICROSECONDS if container.duration else None


def _pixel_ratio(stream: AvVideoStream) -> float:
    ratio = float(stream.sample_aspect_ratio or 1)
    low, high = SANE_PIXEL_RATIO
    return ratio if low <= ratio <= high else 1.0


def _nothing_decoded(limit: str | None) -> VideoError:
    if limit:
        return VideoError(
            "limit", f"video must give a frame within Limits.{limit}, got none: raise that limit"
        )
    return VideoError(
        "corrupt", "video must hold a frame that can be decoded, got none: check or convert the file"
    )
