"""Remember a video that has not ended, a camera or a growing file, and answer about it at any time."""

import math
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from bvllm.common.threads import one_kernel_thread
from bvllm.inference.encode import EncodedVideo
from bvllm.inference.frame_slots import FrameSlots, HeldFrames
from bvllm.inference.model import VideoModel
from bvllm.inference.thinning import Thinning
from bvllm.video import (
    LOCAL_LIMITS,
    Abandoned,
    FrameList,
    GrowingFile,
    Limits,
    SamplingPlan,
    VideoError,
    VideoInfo,
    VideoReport,
    VideoWarning,
    read_video,
)
from bvllm.video.frames import resize

Picture = Tensor | Image.Image | NDArray[np.uint8]

ENCODING = "look"  # a key of the timings, kept for those who read them


class StreamBuffer:
    """What is remembered of a stream: features in bounded memory, pixels in a bounded file without a name.

    Frames come at any rate and are sampled at `fps`. When there are more than `max_frames`, the past is
    thinned evenly (`thinning.Thinning`); the newest frames stay. May be fed by one thread and asked by
    another.

    Args:
        loaded: the model that will be asked.
        max_frames: to be remembered; about 50 KB of disk and 1 KB of memory each for nano.
        fps: frames to sample per second; None takes all that come.
        recent: the newest frames, none of which is thinned; None takes a quarter of `max_frames`.

    Raises:
        ValueError: a number is out of range.
        OSError: the disk is full.

    Example:
        memory = StreamBuffer(load_model("nano"), max_frames=1024)
        memory.watch(camera)                       # (picture, seconds) one after another
        answer(memory.snapshot(), "what is on the table?", loaded)
    """

    def __init__(
        self,
        loaded: VideoModel,
        *,
        max_frames: int = 1024,
        fps: float | None = 1.0,
        recent: int | None = None,
    ) -> None:
        self._plan = SamplingPlan(fps=fps)
        recent = max(1, max_frames // 4) if recent is None else recent
        if max_frames < max(4, 2 * recent):
            raise ValueError(
                f"max_frames must be at least 4, and twice {recent} recent ones, got {max_frames}: raise it"
            )
        self._thinning = Thinning(max_frames, recent)
        self._loaded = loaded
        self._slots = FrameSlots(loaded.frame_size)
        self._frames: dict[int, _Kept] = {}
        self._pending: list[int] = []
        self._seen = self._taken = 0
        self._first: float | None = None
        self._last = -math.inf
        self._reached = -1
        self._info: VideoInfo | None = None
        self._lock = threading.RLock()
        self._spent = 0.0
        self._found = VideoReport()  # of a file that was followed to its end

    def __len__(self) -> int:
        """Frames remembered."""
        return len(self._frames)

    def watch(self, frames: Iterable[tuple[Picture, float]]) -> None:
        """Take (picture, seconds) until there are no more; seconds count from whatever moment and ascend."""
        for picture, seconds in frames:
            self.add(picture, seconds)

    def add(self, picture: Picture, seconds: float) -> bool:
        """Take one frame of the stream; whether it was sampled.

        Args:
            picture: (3, H, W) or (H, W, 3) uint8 RGB, or a PIL image.
            seconds: when it was seen, later than the one before.

        Raises:
            VideoError: of kind "usage" where the picture or its time makes no sense.
        """
        if not (math.isfinite(seconds) and seconds > self._last):
            raise VideoError(
                "usage", f"seconds must ascend strictly, got {seconds} after {self._last}: skip that frame"
            )
        with self._lock:
            before = self._first, self._last, self._seen, self._reached
            self._first = seconds if self._first is None else self._first
            self._last, self._seen = seconds, self._seen + 1
            if not self._answers_a_target(seconds - self._first):
                return False
            try:
                whole = _planes(picture)
            except VideoError:  # the next frame may answer the target that this one could not
                self._first, self._last, self._seen, self._reached = before
                raise
            if self._info is None:
                self._info = VideoInfo.of_pictures("stream", (whole.shape[1], whole.shape[2]))
            self._keep(resize(whole, self._loaded.frame_size), seconds - self._first)
            return True

    def follow(
        self,
        path: str | Path,
        *,
        poll_seconds: float = 1.0,
        patience_seconds: float = 10.0,
        limits: Limits = LOCAL_LIMITS,
        until: Callable[[], bool] = lambda: False,
    ) -> None:
        """Read a file that is still being written, as it grows, until it has not grown for a while.

        Each byte is read, and each frame decoded, once. The newest seconds may still be on their way: what
        is half written, and what the decoder holds back to put in order.
        Containers that can be read before they are finished: MPEG-TS, Matroska and WebM, FLV, fragmented MP4;
        others are read once they are finished.

        Args:
            path: the file; it may not be there yet.
            poll_seconds: time between two checks of its size.
            patience_seconds: without growth, the file counts as finished.
            limits: what it may cost: a day of video, if left out. The time spent waiting does not count.
            until: called before each check of the size and after each frame; True ends the following.

        Raises:
            VideoError: the finished file cannot be read, the file has shrunk, or a limit was met.
            ValueError: frames of another stream were taken already.
        """
        if self._seen:
            raise ValueError(
                f"memory must follow a file from its beginning, got one of {self._seen} frames: make another"
            )
        growing = GrowingFile(path, poll_seconds=poll_seconds, patience_seconds=patience_seconds, until=until)
        with suppress(Abandoned):
            while not self._read_along(growing, limits, until):
                growing.wait(limits)
            if not self._seen:  # what it is stands at its end, as in most mp4
                self._take(path, limits, until)

    def snapshot(self) -> EncodedVideo:
        """What is remembered now. It stays as it is while the stream goes on; close it after use.

        Raises:
            VideoError: of kind "empty" where no frame has come yet.
        """
        with self._lock:
            if self._info is None or not self._frames:
                raise VideoError("empty", "stream must have given a frame, got none yet: ask again later")
            self._encode_waiting()
            kept = [self._frames[number] for number in self._thinning.kept]
            seconds = torch.tensor([frame.seconds for frame in kept], dtype=torch.float64)
            features = torch.stack([frame.feature for frame in kept if frame.feature is not None])
            thinned = self._taken - len(kept)
            length = (
                max(0.0, self._last - (self._first or 0.0)) if self._first is not None else kept[-1].seconds
            )
            report = VideoReport(
                asked=self._taken,
                got=len(kept),
                skipped=thinned,
                decoded=self._seen,
                seconds=length,
                substituted=self._found.substituted,
                damaged=self._found.damaged,
                truncated=self._found.truncated,
                warnings=(*self._found.warnings, *self._let_go(thinned)),
            )
            store = HeldFrames(self._slots, [frame.place for frame in kept])
            fps = self._plan.fps
            return EncodedVideo(
                features, seconds, store, fps or 0.0, fps, self._info, report, {ENCODING: self._spent}
            )

    def close(self) -> None:
        """Give the disk space back; snapshots cannot be asked any more."""
        self._slots.close()

    def _let_go(self, thinned: int) -> tuple[VideoWarning, ...]:
        text = f"{thinned} of {self._taken} frames were let go"
        return (VideoWarning("stream", text),) if thinned else ()

    def _answers_a_target(self, seconds: float) -> bool:
        if self._plan.fps is None:
            return True
        reached = math.floor(seconds * self._plan.fps + 1e-6)
        fresh = reached > self._reached
        self._reached = max(self._reached, reached)
        return fresh

    def _keep(self, small: Tensor, seconds: float) -> None:
        place = self._slots.put(small)
        self._frames[self._taken] = _Kept(seconds, place)
        self._pending.append(self._taken)
        self._taken += 1
        gone = self._thinning.add()
        if gone is not None:
            self._slots.let_go([self._frames.pop(gone).place])
        if len(self._pending) >= self._loaded.chunk:
            self._encode_waiting()

    def _encode_waiting(self) -> None:
        """Give every frame that waits its feature; those let go meanwhile need none.

        What was interrupted waits on.
        """
        waiting = [
            number
            for number in self._pending
            if number in self._frames and self._frames[number].feature is None
        ]
        started = time.perf_counter()
        with one_kernel_thread():
            step = self._loaded.chunk
            for begin in range(0, len(waiting), step):
                part = [self._frames[number] for number in waiting[begin : begin + step]]
                pixels = self._slots.get([frame.place for frame in part])
                for frame, feature in zip(part, self._loaded.frame_features(pixels)):
                    frame.feature = feature.clone()
        self._pending = []
        self._spent += time.perf_counter() - started

    def _read_along(self, growing: GrowingFile, limits: Limits, until: Callable[[], bool]) -> bool:
        """Whether the file was read to its end; not, where there is too little of it yet to make sense."""
        try:
            self._take(growing, limits, until)
        except VideoError as error:
            # These do not go away by waiting.
            if self._seen or error.kind in ("limit", "permission", "changed"):
                raise
            return growing.finished
        return True

    def _take(self, source: GrowingFile | str | Path, limits: Limits, until: Callable[[], bool]) -> None:
        """Take a file's frames as they come."""
        with read_video(source, self._plan, limits, self._loaded.frame_size, chunk=1) as video:
            for chunk in video:
                with self._lock:
                    self._info = video.info
                    self._settle(chunk.pixels[0], float(chunk.seconds[0]))
                if until():
                    raise Abandoned
            report, info = video.report, video.info
        if isinstance(source, GrowingFile):  # how long it is, its header did not know
            info = replace(info, duration_seconds=report.seconds, bytes=source.size)
        if met := report.first("limit"):
            raise VideoError("limit", f"file must be read within the limits, got {met}: raise that limit")
        with self._lock:
            self._found, self._info = report, info

    def _settle(self, small: Tensor, seconds: float) -> None:
        self._first = self._first or 0.0
        self._last, self._seen = seconds, self._seen + 1
        self._keep(small, seconds)


class _Kept:
    """A frame that is remembered; its feature comes a little later."""

    def __init__(self, seconds: float, place: int) -> None:
        self.seconds, self.place = seconds, place
        self.feature: Tensor | None = None


def _planes(picture: Picture) -> Tensor:
    """(3, H, W) uint8, checked as a list of one frame is."""
    if isinstance(picture, Tensor):
        if picture.ndim != 3 or not picture.numel():
            raise VideoError("usage", f"frame must be (3, H, W), got {tuple(picture.shape)}: pass one frame")
        return FrameList(picture[None], (0.0,)).picture(0)
    return FrameList([picture], (0.0,)).picture(0)


VideoMemory = StreamBuffer  # the name until 0.1, for one release
