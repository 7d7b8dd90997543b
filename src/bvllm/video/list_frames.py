"""Read frames that are in memory already as if they were a file."""

from collections.abc import Iterator

from torch import Tensor

from .frames import FrameList
from .report import VideoInfo, VideoReport
from .sampling import Picker, SamplingPlan


class ListFrames:
    """Iterates over (picture, seconds) of the frames that the plan keeps."""

    def __init__(self, frames: FrameList, plan: SamplingPlan, skip: int = 0) -> None:
        self._list = frames
        self._skip = skip  # of the frames that the plan keeps
        first = frames.seconds[0]
        self._seconds = [second - first for second in frames.seconds]
        # The last frame is shown as long as the one before it; a single one has no length.
        self._end = self._seconds[-1] + (
            self._seconds[-1] - self._seconds[-2] if len(self._seconds) > 1 else 0.0
        )
        self._picker = Picker(plan, plan.targets(len(self._seconds), self._end))
        self._complete = False
        self._decoded = 0
        _, height, width = frames.picture(0).shape
        count = len(self._seconds)
        self.info = VideoInfo.of_pictures(
            "frames", (height, width), frames=count, seconds=self._end, still=count == 1
        )

    def __iter__(self) -> Iterator[tuple[Tensor, float]]:
        kept = -1
        for index, second in enumerate(self._seconds):
            self._decoded += 1
            if self._picker.take(index, second):
                kept = index
                if self._picker.got > self._skip:
                    yield self._list.picture(index), second
        last = len(self._seconds) - 1
        if self._picker.close(self._end, can_stand_in=kept != last) and self._picker.got > self._skip:
            yield self._list.picture(last), self._seconds[last]
        self._complete = True

    @property
    def frame_map(self) -> None:
        """None: the frames are in memory."""
        return None

    @property
    def report(self) -> VideoReport:
        """Counts so far."""
        asked, got = self._picker.asked, self._picker.got
        seconds = self._end if self._complete else 0.0
        return VideoReport(
            asked, got, asked - got, decoded=self._decoded, seconds=seconds, complete=self._complete
        )

    def close(self) -> None:
        """Nothing to let go of."""
