"""Decide whether to decode a video in part, and decode the pictures of its ranges."""

import math
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from functools import partial

from torch import Tensor

from .decode import Clock, FrameClock, rate_of
from .frames import FrameConverter
from .limits import Limits
from .opening import Opened, VideoFile
from .packet_map import PacketMap, PacketRange, prove
from .packets import walk
from .parallel import UNLIMITED, CpuSlots, InOrder
from .ranges import Guide, RangeDecoder
from .sampling import SamplingPlan
from .wanted_frames import WantedFrames, choose_frames

SHORTEST_SECONDS = 60.0  # below, everything is decoded: it costs a second or two and sees all damage
TASK_FRAMES = 8
RATE_TOLERANCE = 0.005  # rates in headers are rounded: 30 for 29.97 is off by a thousandth
WORTH = 3  # frames in the video for each one that is wanted, below which there is little to leave out


@dataclass(frozen=True)
class DecodePlan:
    """What the walk over the packets decided: which frames to decode, and by which map.

    Args:
        planned: targets of the whole video; None where the plan needs no such number.
        packet_map: None where frames cannot be found by seeking.
        wanted_frames: None where every frame has to be decoded.
    """

    planned: int | None = None
    packet_map: PacketMap | None = None
    wanted_frames: WantedFrames | None = None


def plan_decoding(
    video: VideoFile, first: Opened, plan: SamplingPlan, limits: Limits, clock: Clock, *, partly: bool
) -> DecodePlan:
    """Read the packets once, if decoding in part or the number of targets needs it.

    Args:
        first: the open container from which the first frame was decoded.
        partly: the caller allows decoding in part.
    """
    structure, measured = video.structure, plan.max_frames is not None
    tick = first.stream.time_base or Fraction(1)
    claimed = float(first.stream.duration * tick) if first.stream.duration else None
    whole = not (structure.ends_early or structure.readable is not None or first.still)
    # Without a rate frames are counted, and a packet that gives no frame would shift all that follow.
    timed = plan.fps is not None
    candidate = partly and timed and whole and (claimed is None or claimed >= SHORTEST_SECONDS)
    if not candidate and not measured:
        return DecodePlan()
    opened = video.open()
    try:
        stream = opened.stream
        depth, frames = stream.codec_context.reorder_depth, stream.frames
        period = FrameClock(rate_of(stream)).period
        packets = walk(opened.container, stream, limits, clock, measured=measured, partly=candidate)
        opened.check()
    finally:
        opened.close()
    planned = _planned(plan, packets.shown, packets.seconds(period, tick), limits) if measured else None
    if structure.counts_frames:
        missing = packets.shown < frames
    else:  # by the rate: after a lost stretch decoders may give frames in another order than their times'
        span = packets.seconds(period, tick)
        missing = packets.shown + 1 < (1 - RATE_TOLERANCE) * span / period
    packet_map = None if missing else prove(packets, tick, depth)
    if packet_map is None or packet_map.seconds[-1] < SHORTEST_SECONDS:
        return DecodePlan(planned)
    wanted_frames = choose_frames(packet_map, plan, planned, limits, period)
    return DecodePlan(
        planned, packet_map, wanted_frames if len(wanted_frames.places) * WORTH <= len(packet_map) else None
    )


def _planned(plan: SamplingPlan, frames: int, seconds: float, limits: Limits) -> int:
    """Targets of the part of a video that the limits let through."""
    within = min(1.0, limits.max_seconds / seconds) if seconds > 0 else 1.0
    return plan.targets(math.ceil(frames * within), seconds * within)


class Pictures:
    """Decodes the pictures of some ranges, in order, the same with any number of threads.

    Raises:
        Unproven, Stopped: as from `RangeDecoder`.
    """

    def __init__(
        self,
        video: VideoFile,
        guide: Guide,
        ranges: Sequence[PacketRange],
        size: tuple[int, int] | None,
        limits: Limits,
        clock: Clock,
        threads: int,
        cpu_slots: CpuSlots = UNLIMITED,
    ) -> None:
        self._ranges = ranges
        self._size = size
        self._new_decoder = partial(RangeDecoder, video.open, guide, limits, clock)
        self._decoders: list[RangeDecoder] = []
        self._threads, self._cpu_slots = threads, cpu_slots

    @property
    def decoded(self) -> int:
        """Frames that came out of decoders so far."""
        return sum(decoder.decoded for decoder in self._decoders)

    def pictures(self) -> Generator[Tensor]:
        """One after the other; close the generator to stop the threads."""
        tasks = list(_tasks(self._ranges))
        return self._one(tasks) if self._threads == 1 else self._several(tasks)

    def _one(self, tasks: Sequence[Sequence[PacketRange]]) -> Generator[Tensor]:
        with closing(self._new_worker()) as worker:
            for task in tasks:
                yield from worker.pictures(task)

    def _several(self, tasks: Sequence[Sequence[PacketRange]]) -> Generator[Tensor]:
        with closing(InOrder(tasks, self._new_worker, self._threads, self._cpu_slots)) as pictures:
            yield from pictures

    def _new_worker(self, halted: Callable[[], bool] = lambda: False) -> "ConvertingDecoder":
        decoder = self._new_decoder(halted)
        self._decoders.append(decoder)
        return ConvertingDecoder(decoder, self._size)


class ConvertingDecoder:
    """A decoder and a frame converter that live in one thread."""

    def __init__(self, decoder: RangeDecoder, size: tuple[int, int] | None) -> None:
        self._decoder = decoder
        self._size = size
        self._converter: FrameConverter | None = None

    def pictures(self, task: Sequence[PacketRange]) -> Iterator[Tensor]:
        """The pictures of some ranges, in order."""
        for part in task:
            for frame in self._decoder.frames(part):
                if self._converter is None:
                    self._converter = self._decoder.converter(self._size)
                yield self._converter.convert(frame)

    def close(self) -> None:
        """Close the container."""
        self._decoder.close()


def _tasks(ranges: Sequence[PacketRange]) -> Iterator[list[PacketRange]]:
    """Group ranges until a group has `TASK_FRAMES` pictures, so that threads hand over seldom."""
    task: list[PacketRange] = []
    for part in ranges:
        task.append(part)
        if sum(len(one.wanted) for one in task) >= TASK_FRAMES:
            yield task
            task = []
    if task:
        yield task
