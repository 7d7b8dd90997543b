"""Index a video: encode each frame once, and store the features for later questions."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from bvllm import __version__
from bvllm.common.threads import CpuSlots, one_kernel_thread, usable_cores
from bvllm.index.encoder import FrameEncoder
from bvllm.index.entry import IndexedVideo, IndexMeta
from bvllm.index.errors import IndexFailure
from bvllm.index.folder import IndexFolder
from bvllm.index.hashes import FileHash, identity_of
from bvllm.index.key import IndexKey, sampling_settings
from bvllm.index.partial import PartialEntry
from bvllm.inference.encode import GPU_WORKERS, Progress
from bvllm.inference.encode_frames import encode_frames, planned_frames
from bvllm.inference.frame_cache import FrameCache
from bvllm.video import (
    LOCAL_LIMITS,
    Limits,
    SamplingPlan,
    VideoError,
    VideoReport,
    VideoStream,
    WarningKind,
    read_video,
)

INDEXING = "index"
# Warnings after which the rest of the video was not read, though it is there: no index stands on these.
UNREAD: tuple[WarningKind, ...] = ("limit", "io")


def find_indexed(
    video: str | Path,
    folder: IndexFolder,
    encoder: FrameEncoder,
    *,
    fps: float = 1.0,
    start: float = 0.0,
    end: float | None = None,
    limits: Limits = LOCAL_LIMITS,
) -> IndexedVideo | None:
    """The entry of a video, if there is one for just these bytes, this rate, this part and this model.

    Raises:
        VideoError: the file cannot be read
        ValueError: fps is out of range, or the part is empty.
    """
    plan = SamplingPlan(fps=fps, start=start, end=end)
    return folder.find(_key(folder.content(video, limits), encoder, plan))


def index_video(
    video: str | Path,
    folder: IndexFolder,
    encoder: FrameEncoder,
    *,
    fps: float = 1.0,
    start: float = 0.0,
    end: float | None = None,
    limits: Limits = LOCAL_LIMITS,
    workers: int | None = None,
    progress: Progress | None = None,
    cache: FrameCache | None = None,
) -> IndexedVideo:
    """The entry of a video, made if there is none yet.

    Work that was stopped, however it was stopped, is taken up where it is safe on disk; the entry is, bit for
    bit, that of a run that was never stopped. Where another process is indexing the same video, waits for it
    and takes its entry.

    Args:
        video: a file.
        folder: where the index lies.
        encoder: the vision tower.
        fps: frames to sample per second of video.
        start, end: seconds since the first frame of the part that is indexed; another part is another entry.
        limits: what the video may cost. One that ends the reading is an error here: an entry stands for all
            of a file that can be read.
        workers: threads that decode, and chunks encoded in parallel on a CPU; None takes one per core. The
            result is the same with any number.
        progress: called with "index".
        cache: receives the pixels of the frames that are encoded here, which are not all where an earlier
            run, or another process, did a part of the work.

    Raises:
        VideoError: the video cannot be read to its end, or changes meanwhile.
        IndexFailure: the folder cannot be written to.
        ValueError: fps or workers is out of range, or the part is empty.
    """
    return find_or_index(
        video,
        folder,
        encoder,
        plan=SamplingPlan(fps=fps, start=start, end=end),
        limits=limits,
        workers=workers,
        progress=progress,
        cache=lambda: cache,
    ).entry


class Indexed(NamedTuple):
    """An entry, and whether it was there before."""

    entry: IndexedVideo
    was_there: bool


def find_or_index(
    video: str | Path,
    folder: IndexFolder,
    encoder: FrameEncoder,
    *,
    plan: SamplingPlan,
    limits: Limits = LOCAL_LIMITS,
    workers: int | None = None,
    progress: Progress | None = None,
    cache: Callable[[], FrameCache | None] = lambda: None,
) -> Indexed:
    """As `index_video`, and says whether the entry was there before; the file's identity is worked out once.

    Args:
        plan: which frames to sample; its rate is part of the key, a cap on frames is not.
        cache: makes what receives the pixels; called where frames are encoded here.
    """
    if workers is not None and workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}: leave it out for one per core")
    folder.make()  # the content hash is remembered there
    file_hash = folder.content(video, limits)
    key = _key(file_hash, encoder, plan)
    found = folder.find(key)
    if found is not None:
        return Indexed(found, was_there=True)
    with folder.partial(key) as partial:
        found = folder.find(key)  # another process may have made it while we waited
        if found is not None:
            return Indexed(found, was_there=True)
        # The last chunk may be a short one, or end with a frame that stood in for those which were not read.
        partial.rewind(max(0, partial.count - 1))
        run = _IndexRun(video, file_hash, encoder, plan, partial, progress, cache())
        return Indexed(run.through(limits, workers or usable_cores()), was_there=False)


@dataclass(frozen=True)
class _IndexRun:
    """One walk over a video's frames, from where the journal ends."""

    video: str | Path
    file_hash: FileHash
    encoder: FrameEncoder
    plan: SamplingPlan
    partial: PartialEntry
    progress: Progress | None
    cache: FrameCache | None

    def through(self, limits: Limits, threads: int) -> IndexedVideo:
        """Read on from where the journal ends, and make the entry."""
        size, chunk = self.encoder.frame_size, self.encoder.chunk
        first, cpu_slots = self.partial.count, CpuSlots(threads)
        with (
            one_kernel_thread(),
            read_video(
                self.video, self.plan, limits, size, chunk, threads, first=first, cpu_slots=cpu_slots
            ) as stream,
        ):
            self._at(stream, threads if self.encoder.device.type == "cpu" else GPU_WORKERS, cpu_slots)
            frame_map = {} if stream.frame_map is None else stream.frame_map.to_arrays()
            return self.partial.finish(frame_map, _meta(self.video, self.plan, stream))

    def _at(self, stream: VideoStream, workers: int, cpu_slots: CpuSlots) -> None:
        """Put every frame's feature into the journal."""
        planned = planned_frames(stream.info, self.plan.fps)
        self._tell(planned)
        for features, seconds in encode_frames(
            stream, self.encoder.frame_features, workers, cpu_slots, self.cache
        ):
            # Before they are believed: they are of the bytes that the key names.
            if not self._is_still_it():
                raise VideoError(
                    "io", "video must stay as it is while it is indexed, got one that changed: index it again"
                )
            self.partial.append(features, seconds)
            self._tell(planned)
        self._check(stream.report)
        self._tell(self.partial.count)

    def _is_still_it(self) -> bool:
        try:
            return identity_of(self.video) == self.file_hash.identity
        except OSError:  # gone
            return False

    def _check(self, report: VideoReport) -> None:
        """All of the video, or nothing."""
        if unread := report.first(*UNREAD):
            raise VideoError(
                "limit" if unread.kind == "limit" else "io",
                f"video must be read to its end for an index, got {unread}: raise the limit, or mend it",
            )
        if report.got != self.partial.count:
            count = self.partial.count
            self.partial.rewind(0)
            raise IndexFailure(
                f"index entry must hold the {report.got} frames of the video, got {count}: index it again"
            )

    def _tell(self, planned: int | None) -> None:
        if self.progress is not None:
            done = self.partial.count
            self.progress(INDEXING, done, None if planned is None else max(planned, done))


def _key(file_hash: FileHash, encoder: FrameEncoder, plan: SamplingPlan) -> IndexKey:
    sampling = sampling_settings(plan.fps, encoder.frame_size, plan.start, plan.end)
    return IndexKey(file_hash.sha256, sampling, encoder.fingerprint)


def _meta(video: str | Path, plan: SamplingPlan, stream: VideoStream) -> IndexMeta:
    name = os.fsencode(video).decode(errors="replace")  # JSON holds no half characters
    return IndexMeta(name, plan.fps, time.time(), __version__, stream.info, stream.report)
