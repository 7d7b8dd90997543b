"""`read_video`: read any source as frames with seconds, a chunk at a time."""

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import get_args

import torch
from torch import Tensor

from .errors import VideoError
from .file_frames import Decode, FileFrames
from .frame_map import FrameMap
from .frames import FrameChunk, FrameList, resize
from .growing import GrowingFile
from .jobs import Job, decoding_process
from .limits import Limits
from .list_frames import ListFrames
from .parallel import UNLIMITED, CpuSlots
from .report import VideoInfo, VideoReport
from .safe_open import FileSource
from .sampling import SamplingPlan

Source = FileSource | GrowingFile | FrameList

# Pictures kept at their own size may be large; a chunk of them is cut short here.
CHUNK_BYTES = 128 << 20


def read_video(
    source: Source,
    plan: SamplingPlan = SamplingPlan(),  # noqa: B008 - frozen
    limits: Limits = Limits(),  # noqa: B008 - frozen
    size: tuple[int, int] | None = None,
    chunk: int = 32,
    threads: int = 1,
    *,
    decode: Decode = "auto",
    first: int = 0,
    cpu_slots: CpuSlots = UNLIMITED,
) -> "VideoStream":
    """Opens a video; iterate over what comes back to read it.

    Frames are decoded as they are asked for, converted only if they are kept, and resized before they are
    gathered, so that an hour takes the memory of a minute.

    Args:
        source: a path, bytes, a binary file object, a `FrameList` of pictures with their seconds, or a
            `GrowingFile`, of which everything is decoded, in one thread, as it comes.
        plan: which frames to keep.
        limits: what the video may cost.
        size: (height, width) of every frame, the shape of the picture ignored; None keeps each picture as
            shown.
        chunk: frames handed on at a time; fewer where they would take more than 128 MB.
        threads: how many threads decode; the frames are the same with any number.
        decode: "auto" leaves out what the kept frames do not need, where a long video allows it and it is
            proven that the same frames come out; "all" decodes everything, and so finds all damage.
        first: so many of the frames that the plan takes are not handed on, to go on in the middle of a video
            that was begun before. The report counts them.
        cpu_slots: entered by a decoding thread for each frame. A semaphore shared with the work on frames
            keeps both together to as many cores as it lets in.

    Raises:
        VideoError: see its `kind`. A file that ends early or is damaged in places is no error as long
        as one frame can be decoded: `report.truncated`, `report.damaged` and `report.warnings` say so.

    Example:
        >>> frames = FrameList(torch.zeros(4, 3, 8, 8, dtype=torch.uint8), (0.0, 0.5, 1.0, 1.5))
        >>> with read_video(frames, SamplingPlan(fps=1.0), size=(4, 4)) as video:
        ...     chunks = [(chunk.pixels.shape, chunk.seconds.tolist()) for chunk in video]
        >>> chunks
        [(torch.Size([2, 3, 4, 4]), [0.0, 1.0])]
    """
    for name, value in (("chunk", chunk), ("threads", threads), *(("size", side) for side in size or ())):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}: use a larger number")
    if decode not in get_args(Decode):
        raise ValueError(f"decode must be one of {get_args(Decode)}, got {decode!r}: use one of those")
    if first < 0:
        raise ValueError(f"first must be at least 0, got {first}: use a larger number")
    if isinstance(source, GrowingFile):
        if plan.max_frames is not None:
            raise ValueError(
                f"max_frames must be left out for a growing file, got {plan.max_frames}: its end is not known"
            )
        threads = 1  # FFmpeg's own would hold frames back
    if isinstance(source, FrameList):
        return VideoStream(ListFrames(source, plan, first), size, chunk)
    process = decoding_process() if isinstance(source, str | Path) else None
    if process is not None and isinstance(source, str | Path):
        return process.read(source, Job(limits, plan, size, chunk, threads, decode, first))
    frames = FileFrames(source, plan, limits, size, threads, decode=decode, first=first, cpu_slots=cpu_slots)
    return VideoStream(frames, size, chunk)


def probe(source: Source, limits: Limits = Limits()) -> VideoInfo:  # noqa: B008 - frozen
    """What a video is, from its container and first frame; sources, limits and errors as for `read_video`."""
    with read_video(source, limits=limits) as video:
        return video.info


class VideoStream:
    """The frames of one video, in chunks, once. Close it, or use it as a context manager."""

    def __init__(self, frames: FileFrames | ListFrames, size: tuple[int, int] | None, chunk: int) -> None:
        self._frames = frames
        self._size = size
        self._chunk = chunk
        self._started = self._closed = False

    @property
    def info(self) -> VideoInfo:
        """What the video is."""
        return self._frames.info

    @property
    def report(self) -> VideoReport:
        """What was read so far; `complete` once everything was."""
        return self._frames.report

    @property
    def frame_map(self) -> FrameMap | None:
        """What `fetch_frames` needs to find the frames again without decoding from the start.

        There once everything was read; None where frames cannot be found by seeking.
        """
        return self._frames.frame_map

    def __iter__(self) -> Iterator[FrameChunk]:
        if self._started:
            raise VideoError(
                "usage", "a video stream must be read once, got a second loop: call read_video again"
            )
        self._started = True
        self._check_open()
        pictures: list[Tensor] = []
        seconds: list[float] = []
        for picture, second in self._frames:
            small = picture if self._size is None else resize(picture, self._size)
            changed = (
                bool(pictures) and small.shape != pictures[0].shape
            )  # a chunk is one tensor: sizes must agree
            full = len(pictures) == self._chunk or len(pictures) * small.numel() > CHUNK_BYTES
            if changed or full:
                yield _gather(pictures, seconds)
                self._check_open()
                pictures, seconds = [], []
            pictures.append(small)
            seconds.append(second)
        if pictures:
            yield _gather(pictures, seconds)

    def __enter__(self) -> "VideoStream":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Lets go of the file; a file object that the caller opened stays open."""
        self._closed = True
        self._frames.close()

    def _check_open(self) -> None:
        """A decoder whose container was closed must not be asked for more."""
        if self._closed:
            raise VideoError(
                "usage", "a video stream must be open while it is read, got a closed one: close it afterwards"
            )


def _gather(pictures: list[Tensor], seconds: list[float]) -> FrameChunk:
    return FrameChunk(torch.stack(pictures), torch.tensor(seconds, dtype=torch.float64))
