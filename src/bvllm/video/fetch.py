"""Fetch single frames of a video that `read_video` read before, pixel for pixel the same."""

from collections.abc import Generator, Sequence
from contextlib import closing
from pathlib import Path

import torch
from torch import Tensor

from .decode import Clock
from .errors import VideoError
from .file_frames import FileFrames
from .frame_map import FrameMap
from .frames import FrameList, resize
from .jobs import Job, decoding_process
from .limits import Limits
from .list_frames import ListFrames
from .opening import VideoFile
from .ranges import Stopped, Unproven
from .safe_open import FileSource
from .sampling import SamplingPlan
from .sparse import Pictures


def fetch_frames(
    source: FileSource | FrameList,
    wanted: Sequence[int],
    frame_map: FrameMap | None,
    *,
    plan: SamplingPlan = SamplingPlan(),  # noqa: B008 - frozen
    limits: Limits = Limits(),  # noqa: B008 - frozen
    size: tuple[int, int] | None = None,
    threads: int = 1,
) -> Tensor:
    """Pictures of frames that `read_video` gave, pixel for pixel.

    Args:
        source, plan, limits, size: as they were when the video was read.
        wanted: numbers of sampled frames, in any order, also more than once.
        frame_map: what the stream of that reading had as `frame_map`. With it, decoding begins at the key
            frame before each frame; without, at the beginning of the video.
        threads: how many threads decode.

    Returns:
        (n, 3, h, w) uint8, one for each of `wanted`.

    Raises:
        ValueError: a number is out of range. VideoError as for `read_video`; of kind "changed" where the
            video is not the one that was read, of kind "limit" where it takes longer than
            `limits.max_wall_seconds`, of kind "usage" where a number is beyond the end, or
            pictures of different sizes were asked for without a size.

    Example:
        >>> frames = FrameList(torch.zeros(4, 3, 8, 8, dtype=torch.uint8), (0.0, 0.5, 1.0, 1.5))
        >>> fetch_frames(frames, [1, 0, 1], None, size=(4, 4)).shape
        torch.Size([3, 3, 4, 4])
    """
    last = None if frame_map is None else len(frame_map)
    wrong = [number for number in wanted if number < 0 or (last is not None and number >= last)]
    if wrong or not wanted:
        there = "0 or more" if last is None else f"below {last}, as many as were sampled"
        raise ValueError(
            f"wanted must be numbers of sampled frames, {there}, got {wrong[:8]}: use what was read"
        )
    order = sorted(set(wanted))
    process = decoding_process()
    if process is not None and isinstance(source, str | Path):
        job = Job(limits, plan, size, threads=threads, wanted=tuple(wanted), frame_map=frame_map)
        return process.fetch(source, job)
    if isinstance(source, FrameList) or frame_map is None:
        pictures = _from_the_start(source, order, plan, limits, size, threads)
    else:
        pictures = _by_seeking(source, order, frame_map, limits, size, threads)
    found: dict[int, Tensor] = {}
    with closing(pictures):
        found.update(zip(order, pictures))
    if len({picture.shape for picture in found.values()}) > 1:
        raise VideoError("usage", "frames must be of one size to be one tensor, got several: pass a size")
    return torch.stack([found[number] for number in wanted])


def _by_seeking(
    source: FileSource,
    order: Sequence[int],
    frame_map: FrameMap,
    limits: Limits,
    size: tuple[int, int] | None,
    threads: int,
) -> Generator[Tensor]:
    clock = Clock()
    with closing(VideoFile(source, limits)) as video:
        several = Pictures(video, frame_map, frame_map.ranges(order), size, limits, clock, threads)
        try:
            with closing(several.pictures()) as pictures:
                yield from pictures
        except Unproven:
            raise _changed() from None
        except Stopped:
            raise VideoError(
                "limit",
                f"frames must come within {limits.max_wall_seconds:g} s, got none for so long: "
                "raise Limits.max_wall_seconds",
            ) from None


def _from_the_start(
    source: FileSource | FrameList,
    order: Sequence[int],
    plan: SamplingPlan,
    limits: Limits,
    size: tuple[int, int] | None,
    threads: int,
) -> Generator[Tensor]:
    first, wanted = order[0], set(order)
    frames: FileFrames | ListFrames
    if isinstance(source, FrameList):
        frames = ListFrames(source, plan, first)
    else:
        frames = FileFrames(source, plan, limits, size, threads, decode="all", first=first)
    with closing(frames):
        for number, (picture, _) in enumerate(frames, start=first):
            if number in wanted:
                yield picture if size is None else resize(picture, size)
            if number == order[-1]:
                return
        report = frames.report
    met = report.first("limit")
    if met is not None:
        raise VideoError("limit", f"frames must be decoded within the limits, got {met}: raise that limit")
    raise VideoError(
        "usage",
        f"frame must be one of the {report.got} that this plan takes of the video, got {order[-1]}: use "
        "numbers that were read, or read the video again if it has changed",
    )


def _changed() -> VideoError:
    return VideoError(
        "changed", "video must be the one that was read before, got another: read it again with read_video"
    )
