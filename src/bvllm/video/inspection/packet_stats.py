"""Read the packets of a video once and count them: times, key pictures, streams, without decoding.

Only the first picture is decoded, for what no header holds. The walk costs a few microseconds a packet and
keeps nine bytes of each.
"""

from array import array
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.stream import VideoStream as AvVideoStream
from numpy.typing import NDArray

from bvllm.video.decode import MICROSECONDS, Clock, FrameClock, rate_of
from bvllm.video.jobs import Job, decoding_process
from bvllm.video.limits import Limits
from bvllm.video.opening import VideoFile
from bvllm.video.safe_open import FileSource
from bvllm.video.sampling import TOLERANCE, SamplingPlan

HDR_TRANSFERS = {16: "PQ", 18: "HLG"}  # ITU-T H.273, table 3
PACKETS_FOR_A_PICTURE = 64  # after so many without one there will be none
NO_TIME = -(1 << 63)


@dataclass(frozen=True)
class Spread:
    """Least, middle and greatest of a number of steps, in seconds."""

    least: float
    middle: float
    greatest: float


@dataclass(frozen=True)
class Streams:
    """What lies beside the chosen moving picture: counts by kind."""

    videos: int  # the chosen one included
    covers: int
    sounds: int
    others: int


@dataclass(frozen=True)
class Picture:
    """Format of the first picture, taken to be that of all."""

    bits: int
    interlaced: bool
    hdr: str | None
    pixel_ratio: float


@dataclass(frozen=True)
class PacketStats:
    """Counts, times and flags of the packets of the chosen stream.

    Attributes:
        packets: how many there are.
        keys: how many of them are key packets, at which a decoder may begin.
        hidden: packets that an edit list does not show.
        incomplete: packets that arrived damaged.
        untimed, repeated: shown packets without a presentation time, and with one that another has.
        first_seconds: the container's time of the first picture; None where it has none.
        seconds: from the first picture to the end of the last.
        frame_steps: between pictures, in order of presentation; None where fewer than two are timed.
        key_steps: between pictures that a decoder may begin with.
        claimed_seconds: the container's duration over all its streams; None where its header has none.
        edited: an edit list changes what is shown.
        stopped: a limit ended the walk.
        streams, picture: see there; no picture where the first ones cannot be decoded.
        pts: (packets,) seconds since the first picture in the order of the file, NaN where there is no time.
        is_key, is_hidden: (packets,) flags.
    """

    packets: int
    keys: int
    hidden: int
    incomplete: int
    untimed: int
    repeated: int
    first_seconds: float | None
    seconds: float
    frame_steps: Spread | None
    key_steps: Spread | None
    claimed_seconds: float | None
    edited: bool
    stopped: bool
    streams: Streams
    picture: Picture | None
    pts: NDArray[np.float64] = field(repr=False, compare=False)
    is_key: NDArray[np.bool_] = field(repr=False, compare=False)
    is_hidden: NDArray[np.bool_] = field(repr=False, compare=False)

    def summary(self) -> dict[str, object]:
        """All but the single packets, as plain numbers."""
        single = {field.name for field in fields(self) if not field.repr}
        return {name: value for name, value in asdict(self).items() if name not in single}

    def to_arrays(self) -> dict[str, NDArray[np.int64]]:
        """The single packets as whole numbers, bit for bit."""
        flags = self.is_key | self.is_hidden.astype(np.int64) << 1
        return {"pts": self.pts.astype(np.float64).view(np.int64), "flags": flags.astype(np.int64)}

    @classmethod
    def from_parts(cls, summary: Mapping[str, Any], arrays: Mapping[str, NDArray[np.int64]]) -> "PacketStats":
        """What `summary` and `to_arrays` gave, checked.

        Raises:
            ValueError: they are not of this form.
        """
        try:
            facts = dict(summary)
            for name, kind in (("frame_steps", Spread), ("key_steps", Spread), ("picture", Picture)):
                facts[name] = None if facts[name] is None else kind(**facts[name])
            facts["streams"] = Streams(**facts["streams"])
            flags = arrays["flags"]
            pts = arrays["pts"].view(np.float64)
            if not len(flags) == len(pts) == facts["packets"]:
                raise KeyError("packets")
            return cls(**facts, pts=pts, is_key=flags & 1 == 1, is_hidden=flags >> 1 == 1)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(
                f"packet statistics must hold what they promise, got {error!r}: walk again"
            ) from error

    def decoded_for(self, plan: SamplingPlan) -> tuple[int, int]:
        """(packets, groups of pictures) that must be decoded at most to sample as planned.

        A group is decoded from its key picture to the last of its pictures that is wanted; one without a
        wanted picture, not at all. Needs a time on every picture: else everything is decoded.
        """
        shown = ~self.is_hidden
        groups = np.maximum(np.cumsum(self.is_key), 1)
        fps = plan.fps
        if fps is None or self.untimed or self.edited or not shown.any():
            return self.packets, int(groups[-1]) if self.packets else 0
        order = np.flatnonzero(shown)[np.argsort(self.pts[shown], kind="stable")]
        order = order[[plan.within(second) for second in self.pts[order].tolist()]]
        if not len(order):
            return 0, 0
        reached = np.floor((self.pts[order] - plan.start) * fps + TOLERANCE * (fps + 1)).astype(np.int64)
        wanted = order[np.flatnonzero(np.diff(reached, prepend=-1) > 0)]
        last = np.full(int(groups.max()) + 1, -1)
        np.maximum.at(last, groups[wanted], wanted)
        starts = np.searchsorted(groups, np.arange(len(last)))
        used = last >= 0
        return int((last - starts + 1)[used].sum()), int(used.sum())


def packet_stats(source: FileSource, limits: Limits = Limits()) -> PacketStats:  # noqa: B008 - frozen
    """Read the packets of a file once; opens nothing but the file, as `read_video`.

    Raises:
        VideoError: as for `read_video`, where the file cannot be opened. A file that ends early or is
        damaged on the way is walked as far as it goes.
    """
    process = decoding_process()
    if process is not None and isinstance(source, str | Path):
        return process.packets(source, Job(limits, packets=True))
    with closing(VideoFile(source, limits)) as video, closing(video.open()) as opened:
        streams, walk = _streams(opened.container), _Walk(opened.container, opened.stream, limits)
        opened.check()
        return walk.result(streams)


class _Walk:
    """The packets of one stream, a few numbers of each."""

    def __init__(self, container: InputContainer, stream: AvVideoStream, limits: Limits) -> None:
        self._stream = stream
        self._pts, self._flags = array("q"), array("B")
        self._incomplete = 0
        self._picture: Picture | None = None
        self._stopped = False
        self._latest = (NO_TIME, 0)  # time and length of what is shown last
        self._claimed = container.duration / MICROSECONDS if container.duration else None
        clock = Clock()
        try:
            for packet in container.demux(stream):
                if packet.size:
                    self._note(packet)
                if clock.seconds() > limits.max_wall_seconds or len(self._pts) >= limits.max_decoded_frames:
                    self._stopped = True
                    break
            if self._picture is None and len(self._pts) <= PACKETS_FOR_A_PICTURE:
                self._picture = _first_picture(stream, None)
        except (av.FFmpegError, IndexError):
            pass  # FFmpeg cannot read further: decoding will stop there as well, and report it

    def _note(self, packet: "Packet[AvVideoStream]") -> None:
        self._pts.append(NO_TIME if packet.pts is None else packet.pts)
        self._flags.append(packet.is_keyframe | packet.is_discard << 1)
        self._incomplete += packet.is_corrupt
        if packet.pts is not None and not packet.is_discard:
            self._latest = max(self._latest, (packet.pts, packet.duration or 0))
        if self._picture is None and len(self._pts) <= PACKETS_FOR_A_PICTURE:
            self._picture = _first_picture(self._stream, packet)

    def result(self, streams: Streams) -> PacketStats:
        ticks = np.frombuffer(self._pts, dtype=np.int64) if self._pts else np.empty(0, np.int64)
        flags = np.frombuffer(self._flags, dtype=np.uint8) if self._flags else np.empty(0, np.uint8)
        tick = float(self._stream.time_base or 1 / MICROSECONDS)
        timed, hidden, key = ticks != NO_TIME, flags >> 1 == 1, flags & 1 == 1
        shown = np.sort(ticks[timed & ~hidden])
        first = int(shown[0]) if len(shown) else 0
        period = FrameClock(rate_of(self._stream)).period
        frames = int((~hidden).sum())
        steps = np.diff(shown)
        keys = np.sort(ticks[timed & key])
        length = float(shown[-1] - shown[0]) * tick if len(steps) and steps.any() else (frames - 1) * period
        return PacketStats(
            packets=len(ticks),
            keys=int(key.sum()),
            hidden=int(hidden.sum()),
            incomplete=self._incomplete,
            untimed=int((~timed & ~hidden).sum()),
            repeated=int((steps == 0).sum()),
            first_seconds=first * tick if len(shown) else None,
            seconds=length + (self._latest[1] * tick or period) if frames else 0.0,
            frame_steps=_spread(steps * tick),
            key_steps=_spread(np.diff(keys) * tick),
            claimed_seconds=self._claimed,
            edited=bool(hidden.any()),
            stopped=self._stopped,
            streams=streams,
            picture=self._picture,
            pts=np.where(timed, (ticks - first) * tick, np.nan),
            is_key=key,
            is_hidden=hidden,
        )


def _spread(steps: NDArray[np.float64]) -> Spread | None:
    return Spread(float(steps.min()), float(np.median(steps)), float(steps.max())) if len(steps) else None


def _streams(container: InputContainer) -> Streams:
    covers = Disposition.attached_pic | Disposition.timed_thumbnails
    videos = container.streams.video
    pictures = sum(bool(stream.disposition & covers) for stream in videos)
    sounds = len(container.streams.audio)
    return Streams(len(videos) - pictures, pictures, sounds, len(container.streams) - len(videos) - sounds)


def _first_picture(stream: AvVideoStream, packet: "Packet[AvVideoStream] | None") -> Picture | None:
    try:
        frames = stream.codec_context.decode(packet)
    except (av.FFmpegError, ValueError, MemoryError):
        return None  # `read_video` reports the error
    for frame in frames:
        return Picture(
            bits=max(component.bits for component in frame.format.components),
            interlaced=bool(frame.interlaced_frame),
            hdr=HDR_TRANSFERS.get(int(frame.color_trc)),
            pixel_ratio=float(stream.sample_aspect_ratio or 1),
        )
    return None
