"""Find out when the frames of a video are shown, for parts that are named by numbers of frames."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from bvllm.video.errors import VideoError
from bvllm.video.forms import AnySource, as_source
from bvllm.video.frames import FrameList
from bvllm.video.growing import GrowingFile
from bvllm.video.inspection.packet_stats import packet_stats
from bvllm.video.limits import Limits
from bvllm.video.part_words import VideoPart
from bvllm.video.reader import Source


def as_clip(
    given: AnySource,
    part: VideoPart,
    *,
    seconds: Sequence[float] | None = None,
    step: float = 1.0,
    limits: Limits = Limits(),  # noqa: B008 - frozen
) -> tuple[Source, VideoPart]:
    """A video in any form, and the part of it that is meant, named by its times.

    Of frames that come without times, `part.fps` is the rate at which they were taken: none is left out for
    it.

    Args:
        given, seconds, step, limits: see `as_source`.
        part: which part, and how it is sampled.

    Raises:
        ValueError, VideoError: as for `as_source`, and where the part names frames that are not there.
    """
    rate = part.fps if seconds is None and not isinstance(given, FrameList) else None
    source = as_source(given, seconds=seconds, step=1.0 / rate if rate and rate > 0 else step, limits=limits)
    if isinstance(source, FrameList) and rate:
        part = replace(part, fps=None)
    return source, timed_part(part, source, limits)


def timed_part(part: VideoPart, source: Source, limits: Limits) -> VideoPart:
    """The part named by its times; one that is named so already comes back as it is.

    A file's packets are read once for it, none is decoded.

    Raises:
        VideoError: of kind usage, where there are no such frames, or the file does not say when frames are
            shown; else as for `read_video`.
    """
    if not part.by_frames:
        return part
    try:
        return part.timed(_times(source, limits))
    except ValueError as error:
        raise VideoError("usage", str(error)) from None


def _times(source: Source, limits: Limits) -> list[float]:
    if isinstance(source, FrameList):
        return [second - source.seconds[0] for second in source.seconds]
    if isinstance(source, GrowingFile):
        raise ValueError(
            "a part of a growing file must be named by its times, got numbers of frames: give start="
        )
    packets = packet_stats(source, limits)
    if packets.untimed:
        raise ValueError(
            f"frames must all have a time in the file for numbers of frames, got {packets.untimed} without: "
            "name the part by its times"
        )
    times: list[float] = np.sort(packets.pts[~packets.is_hidden]).tolist()
    return times
