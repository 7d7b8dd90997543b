"""Make the videos that are timed: drawn ones at ordinary sizes, and any clip looped to any length."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import OutputContainer
from av.video.stream import VideoStream

from bvllm.synthetic.haystack import DrawnHaystack

RATE = 25
NOISE = 4.0  # grey levels of sensor noise: a picture without any is too easy to encode
OPTIONS = {"preset": "medium", "crf": "23"}


def draw_clip(out: Path, seconds: float, size: tuple[int, int], seed: int = 1) -> Path:
    """Write moving scenes with noise as H.264 at 25 frames a second, x264's defaults.

    Args:
        size: (width, height), both even.
    """
    haystack, rng = DrawnHaystack(seed, size), np.random.default_rng(seed)
    with av.open(str(out), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options=OPTIONS)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for k in range(round(seconds * RATE)):
            picture = np.asarray(haystack.frame(k / RATE), dtype=np.float32)
            noisy = picture + rng.standard_normal(picture.shape, dtype=np.float32) * NOISE
            frame = av.VideoFrame.from_ndarray(noisy.clip(0, 255).astype(np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return out


def loop_clip(source: Path, out: Path, seconds: float) -> Path:
    """The packets of a clip again and again, not encoded anew, until the video lasts long enough."""
    with av.open(str(source)) as clip, av.open(str(out), "w") as container:
        stream = clip.streams.video[0]
        copy = container.add_stream_from_template(stream)
        period = Fraction(1) / Fraction(stream.average_rate or RATE)
        length = int((stream.frames or _count(source)) * period / stream.time_base)
        turn = 0
        while turn * length * stream.time_base < seconds:
            clip.seek(0)
            _copy(clip, container, stream, copy, turn * length)
            turn += 1
    return out


def _copy(
    clip: av.container.InputContainer,
    out: OutputContainer,
    stream: VideoStream,
    copy: VideoStream,
    shift: int,
) -> None:
    first = None
    for packet in clip.demux(stream):
        if packet.dts is None or packet.pts is None:
            continue
        first = packet.dts if first is None else first
        packet.pts, packet.dts = packet.pts - first + shift, packet.dts - first + shift
        packet.stream = copy
        out.mux(packet)


def _count(source: Path) -> int:
    with av.open(str(source)) as clip:
        return sum(1 for packet in clip.demux(video=0) if packet.size)
