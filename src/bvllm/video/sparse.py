"""When a video is decoded in part, and the pictures that come of it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from torch import Tensor

from .choice import Choice, choose
from .clock import Clock
from .decode import rate_of
from .limits import Limits
from .opening import VideoFile
from .packets import walk
from .picture import Developer
from .runs import Guide, RunDecoder
from .sampling import SamplingPlan
from .skeleton import Run, Skeleton, prove
from .timeline import Timeline

SHORTEST_SECONDS = 60.0  # below, everything is decoded: it costs a second or two and sees all damage
WORTH = 3  # frames in the video for each one that is wanted, below which there is little to leave out


@dataclass(frozen=True)
class Outlook:
    """What a walk over the packets found.

    Args:
        planned: targets of the whole video; None where the plan needs no such number.
        skeleton: None where frames cannot be found by seeking.
        choice: None where everything is to be decoded.
    """

    planned: int | None = None
    skeleton: Skeleton | None = None
    choice: Choice | None = None


def look_ahead(
    video: VideoFile, plan: SamplingPlan, limits: Limits, clock: Clock, *, partly: bool
) -> Outlook:
    """Walks over the packets if that can be of use.

    Args:
        partly: decoding in part is allowed.
    """
    structure, measured = video.structure, plan.max_frames is not None
    opened = video.open()
    try:
        stream, period = opened.stream, Timeline(rate_of(opened.stream)).period
        tick = stream.time_base or Fraction(1)
        claimed = float(stream.duration * tick) if stream.duration else None
        whole = not (structure.ends_early or structure.readable is not None or opened.still)
        candidate = partly and whole and (claimed is None or claimed >= SHORTEST_SECONDS)
        if not candidate and not measured:
            return Outlook()
        depth = stream.codec_context.reorder_depth
        packets = walk(opened.container, stream, limits, clock, measured=measured, partly=candidate)
        planned = plan.targets(packets.shown, packets.seconds(stream)) if measured else None
        missing = structure.counts_frames and packets.shown < stream.frames
        skeleton = None if missing else prove(packets, tick, depth)
        if skeleton is None or skeleton.seconds[-1] < SHORTEST_SECONDS:
            return Outlook(planned)
        choice = choose(skeleton, plan, planned, limits, period)
        worth = len(choice.places) * WORTH <= len(skeleton)
        return Outlook(planned, skeleton, choice if worth else None)
    finally:
        opened.close()


class Pictures:
    """Iterates over the pictures of some runs, in order.

    Args:
        develop: makes a fresh developer, for each thread one.
    """

    def __init__(
        self,
        video: VideoFile,
        guide: Guide,
        runs: Sequence[Run],
        develop: Callable[[], Developer],
        limits: Limits,
        clock: Clock,
    ) -> None:
        self._runs = runs
        self._developer = develop()
        self._decoder = RunDecoder(video.open, guide, limits, clock)

    @property
    def decoded(self) -> int:
        """Frames that came out of decoders so far."""
        return self._decoder.decoded

    def __iter__(self) -> Iterator[Tensor]:
        try:
            for run in self._runs:
                for frame in self._decoder.frames(run):
                    yield self._developer.develop(frame)
        finally:
            self.close()

    def close(self) -> None:
        """Lets go of the containers."""
        self._decoder.close()
