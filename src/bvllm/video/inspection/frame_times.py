"""Find out when the frames of a video are shown, for parts that are named by numbers of frames."""

import numpy as np

from bvllm.video.errors import VideoError
from bvllm.video.frames import FrameList
from bvllm.video.growing import GrowingFile
from bvllm.video.inspection.packet_stats import packet_stats
from bvllm.video.limits import Limits
from bvllm.video.part_words import VideoPart
from bvllm.video.reader import Source


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
