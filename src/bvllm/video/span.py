"""How many frames and seconds a stream holds, without decoding: one walk over its packets."""

import av
from av.container import InputContainer
from av.video.stream import VideoStream as AvVideoStream

from .clock import Clock
from .decode import rate_of
from .limits import Limits
from .timeline import Timeline


def measure(
    container: InputContainer, stream: AvVideoStream, limits: Limits, clock: Clock
) -> tuple[int, float]:
    """(frames, seconds) of what would be shown.

    Headers may lie about both, and a plan that is thinned evenly needs them
    right; the walk costs a few microseconds a packet and keeps two numbers.
    """
    frames = 0
    first = last = None
    try:
        for packet in container.demux(stream):
            if packet.size and not packet.is_discard:
                frames += 1
            if packet.size and not packet.is_discard and packet.pts is not None:
                first = packet.pts if first is None else min(first, packet.pts)
                last = packet.pts if last is None else max(last, packet.pts)
            if clock.seconds() > limits.max_wall_seconds or frames >= limits.max_decoded_frames:
                break
    except (av.FFmpegError, IndexError):
        pass  # measured as far as it can be read: decoding will stop there as well, and say so
    period = Timeline(rate_of(stream)).period
    clocked = (
        float((last - first) * (stream.time_base or 0)) if first is not None and last is not None else 0.0
    )
    return frames, clocked + period if clocked else frames * period
