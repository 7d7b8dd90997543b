"""Encode a video (pass 1): one feature of every sampled frame; the pixels wait on disk."""

import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bvllm.common.threads import CpuSlots, one_kernel_thread, usable_cores
from bvllm.inference.encode_frames import encode_frames, planned_frames
from bvllm.inference.frame_cache import FrameCache, StoredFrames
from bvllm.inference.model import VideoModel
from bvllm.video import (
    FrameList,
    Limits,
    SamplingPlan,
    VideoInfo,
    VideoReport,
    read_video,
)
from bvllm.video.forms import AnySource
from bvllm.video.inspection.frame_times import as_clip
from bvllm.video.part_words import VideoPart

# Called with the step, how much of it is done, and of how much (None if unknown).
Progress = Callable[[str, int, int | None], None]

DECODE_AND_ENCODE = "decode and encode"
GPU_WORKERS = 2  # one chunk is on its way to the GPU while it works on another


@dataclass(frozen=True)
class EncodedVideo:
    """A video after its first pass: it can be asked about many times.

    Attributes:
        frame_features: (T, C) float32, one feature per sampled frame.
        seconds: (T,) float64 presentation times, the first is 0.
        store: the pixels of every frame at the tower's size: on disk, or to be decoded again.
        asked_fps, used_fps: frames per second; None where every given frame was taken.
        info, report: what the video is, and what was asked of it and got.
        timings: seconds per step.
    """

    frame_features: Tensor
    seconds: Tensor
    store: StoredFrames
    asked_fps: float
    used_fps: float | None
    info: VideoInfo
    report: VideoReport
    timings: dict[str, float]

    def __len__(self) -> int:
        return len(self.seconds)

    def close(self) -> None:
        """Free the disk space; also happens when the last reference to the video is gone."""
        self.store.close()


def encode_video(
    source: AnySource,
    loaded: VideoModel,
    *,
    fps: float = 1.0,
    start: float = 0.0,
    end: float | None = None,
    part: VideoPart = VideoPart(),  # noqa: B008 - frozen
    limits: Limits | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> EncodedVideo:
    """Decode a video and encode every sampled frame to one feature: memory does not grow with the video.

    Args:
        source: a path, `file://` address, bytes or binary file; a picture; or frames, as arrays, tensors,
            pictures or files (see `bvllm.video.forms.as_source`). All frames that are given are taken; their
            times are 1/fps apart where a `FrameList` does not say others.
        loaded: the model that will be asked.
        fps: frames to sample per second of video.
        start, end: seconds since the first frame between which frames are sampled; times stay the video's.
        part: the same, and how the part is sampled, as rows of data say it; what it says goes before the
            rest.
        limits: what the video may cost; None takes the safe defaults.
        threads: that decode and encode; None takes one per core. The result is the same with any
            number.
        progress: called with "decode and encode".

    Raises:
        VideoError: the video cannot be read.
        ValueError: fps or threads is out of range.
        OSError: the disk is full.
    """
    if threads is not None and threads < 1:
        raise ValueError(f"threads must be at least 1, got {threads}: leave it out for one per core")
    started = time.perf_counter()
    cores = threads or usable_cores()
    workers = cores if loaded.device.type == "cpu" else GPU_WORKERS
    # Refuses what makes no sense, whether it will be used or not.
    plan = SamplingPlan(fps=fps, start=start, end=end)
    found, part = as_clip(source, part, step=1.0 / fps, limits=limits or Limits())
    if isinstance(found, FrameList):
        plan = replace(plan, fps=None)  # frames that were picked are not sampled again
    plan = part.plan(plan)
    store, cpu_slots = FrameCache(loaded.frame_size), CpuSlots(cores)
    features = _GrowingRows()
    seconds = array("d")  # no small tensors, for the reason that _GrowingRows gives
    with (
        one_kernel_thread(),
        read_video(
            found, plan, limits or Limits(), loaded.frame_size, loaded.chunk, cores, cpu_slots=cpu_slots
        ) as video,
    ):
        planned = planned_frames(video.info, plan.fps)
        for rows, times in encode_frames(video, loaded.frame_features, workers, cpu_slots, store):
            features.append(rows)
            seconds.extend(times.tolist())
            if progress is not None:
                done = len(features)
                progress(DECODE_AND_ENCODE, done, max(planned, len(store)) if planned else None)
        info, report = video.info, video.report
    if progress is not None:
        progress(DECODE_AND_ENCODE, len(store), len(store))
    timings = {DECODE_AND_ENCODE: time.perf_counter() - started}
    times = torch.tensor(seconds, dtype=torch.float64)
    return EncodedVideo(features.tensor(), times, store, fps, plan.fps, info, report, timings)


class _GrowingRows:
    """Rows in one block that doubles: small tensors that stay among large ones that go would pin the heap."""

    def __init__(self) -> None:
        self._block = torch.empty(0, 0)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def append(self, rows: Tensor) -> None:
        """Add (t, C)."""
        needed = self._count + len(rows)
        if needed > len(self._block):
            block = rows.new_empty(2 * needed, rows.shape[1])
            if self._count:
                block[: self._count] = self._block[: self._count]
            self._block = block
        self._block[self._count : needed] = rows
        self._count = needed

    def tensor(self) -> Tensor:
        """(T, C): all rows."""
        return self._block[: self._count].clone()
