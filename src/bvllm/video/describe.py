"""What a video is, by its container and its first frame."""

import av
from av.video.stream import VideoStream as AvVideoStream

from .decode import MICROSECONDS, rate_of
from .frames import Developer
from .opening import Opened
from .report import VideoInfo

SANE_PIXEL_RATIO = (0.01, 100.0)


def describe(opened: Opened, frame: av.VideoFrame, developer: Developer) -> VideoInfo:
    """The claims of the container beside the facts of the first frame."""
    height, width = developer.shown_size(frame)
    orientation = developer.orientation(frame)
    container, stream = opened.container, opened.stream
    claimed = claimed_seconds(stream)
    return VideoInfo(
        container=container.format.name,
        codec=stream.codec_context.codec.canonical_name,
        width=width,
        height=height,
        stored_width=frame.width,
        stored_height=frame.height,
        rotation=orientation.rotation,
        mirrored=orientation.mirrored,
        pixel_format=frame.format.name,
        duration_seconds=claimed
        or (container.duration / MICROSECONDS if container.duration is not None else None)
        or None,
        frame_rate=rate_of(stream),
        frames=stream.frames or None,
        bytes=max(0, container.size),  # none of a file that is still being written
        still=opened.still,
    )


def claimed_seconds(stream: AvVideoStream) -> float | None:
    """How long the container says the stream is."""
    return float(stream.duration * (stream.time_base or 0)) if stream.duration else None


def pixel_ratio(stream: AvVideoStream) -> float:
    """Width of a stored pixel over its height."""
    ratio = float(stream.sample_aspect_ratio or 1)
    low, high = SANE_PIXEL_RATIO
    return ratio if low <= ratio <= high else 1.0
