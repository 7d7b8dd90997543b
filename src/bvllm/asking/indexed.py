"""Encode a video through the index: read its features from disk, or compute and store them once."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from bvllm.common.text import local_path
from bvllm.common.threads import usable_cores
from bvllm.index import IndexedVideo, IndexFailure, IndexFolder, TowerEncoder, find_or_index
from bvllm.inference.encode import DECODE_AND_ENCODE, EncodedVideo, Progress, encode_video
from bvllm.inference.frame_cache import FrameCache, StoredFrames
from bvllm.inference.model import VideoModel
from bvllm.video import FrameMap, Limits, SamplingPlan, VideoError, fetch_frames

FROM_INDEX = "find in the index"


@dataclass(frozen=True)
class FetchedFrames:
    """The pixels of sampled frames, decoded again from the file when they are asked for.

    Attributes:
        video: the file.
        frame_map: where its frames lie; None decodes from the start.
        plan, limits, size: as when the video was indexed.
        threads: that decode.
    """

    video: str | Path
    frame_map: FrameMap | None
    plan: SamplingPlan
    limits: Limits
    size: tuple[int, int]
    threads: int

    def get(self, indices: Sequence[int]) -> Tensor:
        """(F, 3, height, width) uint8, in the order asked for; errors as for `fetch_frames`."""
        return fetch_frames(
            self.video,
            indices,
            self.frame_map,
            plan=self.plan,
            limits=self.limits,
            size=self.size,
            threads=self.threads,
        )

    def close(self) -> None:
        """Nothing is held."""


def indexed_video(
    video: str | Path,
    loaded: VideoModel,
    folder: IndexFolder,
    *,
    fps: float = 1.0,
    start: float = 0.0,
    end: float | None = None,
    limits: Limits | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
    encoder: TowerEncoder | None = None,
) -> EncodedVideo:
    """As `encode_video`, from the index where the video is there, else making its entry in passing.

    Args:
        video: a file.
        loaded: the model that will be asked.
        folder: the index.
        fps: frames to sample per second of video.
        start, end: seconds since the first frame between which frames are sampled; times stay the video's.
        limits: what the video may cost; None takes the safe defaults.
        threads: that decode and encode; None takes one per core. The result is the same with any number.
        progress: called with "decode and encode", if that is done.
        encoder: of the same model; None makes it, which reads all weights.

    Raises:
        VideoError: the video cannot be read to its end within the limits: an entry stands for all of it.
        IndexFailure: the folder cannot be written to.
        ValueError: fps is out of range.
    """
    started, limits = time.perf_counter(), limits or Limits()
    video = local_path(video) if isinstance(video, str) else video
    plan, decoders = SamplingPlan(fps=fps, start=start, end=end), threads or usable_cores()
    cache: list[FrameCache] = []

    def new_cache() -> FrameCache:
        cache.append(FrameCache(loaded.frame_size))
        return cache[-1]

    found, was_there = find_or_index(
        video,
        folder,
        encoder or TowerEncoder.of(loaded),
        plan=plan,
        limits=limits,
        workers=decoders,
        progress=None if progress is None else lambda _, done, all_: progress(DECODE_AND_ENCODE, done, all_),
        cache=new_cache,
    )
    step = FROM_INDEX if was_there else DECODE_AND_ENCODE
    if cache and len(cache[0]) == len(found):
        return _encoded(found, fps, cache[0], step, started)
    for partial in cache:  # a part of the video was there before
        partial.close()
    return _encoded(found, fps, fetched_frames(found, video, loaded, plan, limits, decoders), step, started)


def encode_or_index(
    video: str | Path,
    loaded: VideoModel,
    folder: IndexFolder,
    tell: Callable[[object], None],
    *,
    fps: float = 1.0,
    start: float = 0.0,
    end: float | None = None,
    limits: Limits | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
    encoder: TowerEncoder | None = None,
) -> EncodedVideo:
    """`indexed_video`; without the index where that cannot hold the video: the answer may still be had.

    Args:
        tell: hears why the index was passed over; other arguments and errors as for `indexed_video`.
    """
    try:
        return indexed_video(
            video,
            loaded,
            folder,
            fps=fps,
            start=start,
            end=end,
            limits=limits,
            threads=threads,
            progress=progress,
            encoder=encoder,
        )
    except IndexFailure as failure:
        tell(failure)
    except VideoError as error:
        if error.kind not in ("limit", "io"):  # these may still give an answer, from what can be read
            raise
        tell(error)
    return encode_video(
        video,
        loaded,
        fps=fps,
        start=start,
        end=end,
        limits=limits,
        threads=threads,
        progress=progress,
    )


def fetched_frames(
    found: IndexedVideo,
    video: str | Path,
    loaded: VideoModel,
    plan: SamplingPlan,
    limits: Limits,
    threads: int,
) -> FetchedFrames:
    """The pixels of an indexed video's frames; arguments as they were when it was indexed."""
    frame_map = FrameMap.from_arrays(found.frame_map) if found.frame_map else None
    return FetchedFrames(video, frame_map, plan, limits, loaded.frame_size, threads)


def _encoded(found: IndexedVideo, fps: float, store: StoredFrames, step: str, started: float) -> EncodedVideo:
    timings = {step: time.perf_counter() - started}
    meta = found.meta
    return EncodedVideo(
        found.features.float(), found.seconds, store, fps, meta.fps, meta.info, meta.report, timings
    )
