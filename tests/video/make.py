"""Small videos made in memory, every frame with its number written on it."""

import io
import struct
import tempfile
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from torch import Tensor

# One thread and no look-ahead: the same bytes every time.
X264 = {
    "preset": "veryfast",
    "crf": "20",
    "threads": "1",
    "x264-params": "sliced-threads=0:rc-lookahead=0:sync-lookahead=0:no-mbtree=1",
}
OTHERS = {
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0", "crf": "10", "b": "1M"},
    "libx265": {"preset": "ultrafast", "x265-params": "log-level=none:pools=1:frame-threads=1:keyint=12"},
    "libsvtav1": {"preset": "12", "svtav1-params": "lp=1"},
    "mpeg4": {"qscale": "3"},
    "mpeg2video": {"qscale": "3"},
}
BITS = 8
ONE, UNIT = 1 << 16, 1 << 30
# Display matrices as they stand in an mp4 header: how a stored picture is to be turned.
MATRICES = {
    "rot90": (0, ONE, 0, -ONE, 0, 0, 0, 0, UNIT),
    "rot180": (-ONE, 0, 0, 0, -ONE, 0, 0, 0, UNIT),
    "rot270": (0, -ONE, 0, ONE, 0, 0, 0, 0, UNIT),
    "mirror": (-ONE, 0, 0, 0, ONE, 0, 0, 0, UNIT),
    "flip": (ONE, 0, 0, 0, -ONE, 0, 0, 0, UNIT),
}
# What is done to a picture before it is stored, so that the matrix makes it upright again.
UNDO = {
    "rot90": lambda a: np.rot90(a, 1),
    "rot180": lambda a: np.rot90(a, 2),
    "rot270": lambda a: np.rot90(a, -1),
    "mirror": lambda a: a[:, ::-1],
    "flip": lambda a: a[::-1],
}


def picture(number: int, width: int = 64, height: int = 48) -> np.ndarray:
    """(h, w, 3): a white top-left quarter on dark grey; below, the number in eight black or white blocks."""
    image = np.full((height, width, 3), 40, np.uint8)
    image[: height // 2, : width // 2] = 235
    for bit in range(BITS):
        block = slice(width * bit // BITS, width * (bit + 1) // BITS)
        image[height // 2 :, block] = 235 if number >> (BITS - 1 - bit) & 1 else 16
    return image


def number_on(pixels: Tensor) -> int:
    """The number on an upright (3, h, w) picture; -1 if it is not upright."""
    grey = pixels.float().mean(0)
    height, width = grey.shape
    quarter = grey[: height // 4]
    if not (quarter[:, : width // 4].mean() > 128 > quarter[:, -(width // 4) :].mean()):
        return -1
    row = grey[height * 3 // 4]
    middles = [(width * bit // BITS + width * (bit + 1) // BITS) // 2 for bit in range(BITS)]
    return int("".join("1" if row[x] > 128 else "0" for x in middles), 2)


def video(
    frames: int = 20,
    *,
    fps: int = 10,
    width: int = 64,
    height: int = 48,
    format: str = "mp4",
    codec: str = "libx264",
    pixels: str = "yuv420p",
    times: list[int] | None = None,
    tick: Fraction | None = None,
    gop: int = 12,
    ratio: Fraction | None = None,
    turned: str | None = None,
    b_frames: int = 0,
    noise: bool = False,
    options: dict[str, str] | None = None,
    **movie: str,
) -> bytes:
    """Numbered frames; `times` are in ticks of 1/fps, `options` go to the encoder, `movie` to the muxer.

    With `noise` their lower half is noise that moves, so that most bytes of the file are pixels.
    """
    tick = tick or Fraction(1, fps)
    with (
        tempfile.TemporaryDirectory() as folder
    ):  # a muxer that moves its header to the front opens its file twice
        path = str(Path(folder, "video"))
        muxing = {"fflags": "+bitexact", **movie}
        with av.open(path, "w", format=format, container_options=muxing) as container:
            stream = container.add_stream(codec, rate=fps)
            stream.width, stream.height, stream.pix_fmt = width, height, pixels
            usual = X264 if codec == "libx264" else {"threads": "1", **OTHERS.get(codec, {})}
            stream.options = {**usual, **(options or {})}
            context = stream.codec_context
            context.time_base, context.gop_size, context.max_b_frames = tick, gop, b_frames
            if ratio:
                context.sample_aspect_ratio = ratio
            for number in range(frames):
                frame = _frame(number, width, height, pixels, turned, noise)
                frame.pts, frame.time_base = times[number] if times else number, tick
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        data = Path(path).read_bytes()
    return with_matrix(data, MATRICES[turned]) if turned else data


def _frame(
    number: int, width: int, height: int, pixels: str, turned: str | None, noise: bool
) -> av.VideoFrame:
    sideways = turned in ("rot90", "rot270")
    upright = picture(number, *((height, width) if sideways else (width, height)))
    if noise:
        drawn = np.random.default_rng(number // 15).integers(0, 256, upright.shape, dtype=np.uint8)
        upright[height // 2 :] = np.roll(drawn, 2 * number, axis=1)[height // 2 :]
    stored = UNDO[turned](upright) if turned else upright
    return av.VideoFrame.from_ndarray(np.ascontiguousarray(stored), format="rgb24").reformat(format=pixels)


def sound(format: str = "mp4", blocks: int = 1) -> bytes:
    """A file that holds sound only."""
    out = io.BytesIO()
    with av.open(out, "w", format=format) as container:
        stream = container.add_stream("aac", rate=16000)
        stream.layout = "mono"
        for block in range(blocks):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 16000, block * 1024, Fraction(1, 16000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return out.getvalue()


def with_matrix(mp4: bytes, matrix: tuple[int, ...]) -> bytes:
    """The display matrix lies 40 bytes into the body of `tkhd`."""
    start = mp4.index(b"tkhd") + 4 + 40
    return mp4[:start] + struct.pack(">9i", *matrix) + mp4[start + 36 :]


def box(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I4s", 8 + len(body), kind) + body


def table(kind: bytes, *numbers: int) -> bytes:
    """A full box of version 0 that holds 32-bit numbers."""
    return box(kind, bytes(4), struct.pack(f">{len(numbers)}I", *numbers))


def mp4_of(*tables: bytes, handler: bytes = b"vide") -> bytes:
    """A file with one track that holds the given sample tables: well formed, but nothing can be decoded."""
    track = box(
        b"trak", box(b"mdia", box(b"hdlr", bytes(8), handler, bytes(13)), box(b"minf", box(b"stbl", *tables)))
    )
    return box(b"ftyp", b"isom\0\0\0\0isom") + box(b"mdat", bytes(64)) + box(b"moov", track)


def index_bomb(samples: int) -> bytes:
    """600 bytes that claim so many samples of one byte each; a real one, that FFmpeg believes."""
    entry = struct.pack(
        ">6xHHHIIIHHIIIH32sHh", 1, 0, 0, 0, 0, 0, 16, 16, 0x480000, 0x480000, 0, 1, b"", 24, -1
    )
    tables = box(
        b"stbl",
        box(b"stsd", bytes(4), struct.pack(">I", 1), box(b"jpeg", entry)),
        table(b"stts", 1, samples, 1),
        table(b"stsc", 1, 1, samples, 1),
        table(b"stsz", 1, samples),
        table(b"stco", 1, 40),
    )
    reference = box(b"dinf", box(b"dref", bytes(4), struct.pack(">I", 1), box(b"url ", b"\0\0\0\1")))
    media = box(
        b"mdia",
        table(b"mdhd", 0, 0, 1000, samples, 0x55C40000),
        box(b"hdlr", bytes(8), b"vide", bytes(13)),
        box(b"minf", box(b"vmhd", b"\0\0\0\1", bytes(8)), reference, tables),
    )
    matrix = struct.pack(">9i", ONE, 0, 0, 0, ONE, 0, 0, 0, UNIT)
    track = box(
        b"tkhd",
        b"\0\0\0\3",
        struct.pack(">5I16x", 0, 0, 1, 0, 1000),
        matrix,
        struct.pack(">II", 16 << 16, 16 << 16),
    )
    movie = box(
        b"mvhd",
        bytes(4),
        struct.pack(">IIIIIH10x", 0, 0, 1000, 1000, ONE, 0x100),
        matrix,
        bytes(24),
        struct.pack(">I", 2),
    )
    return (
        box(b"ftyp", b"isom\0\0\0\0isom")
        + box(b"mdat", bytes(64))
        + box(b"moov", movie, box(b"trak", track, media))
    )


def repeated(times: int, *, fps: int = 30, gop: int = 30, width: int = 160, height: int = 120) -> bytes:
    """One group of pictures again and again: a long video in a moment."""
    one = video(gop, fps=fps, gop=gop, width=width, height=height)
    out = io.BytesIO()
    with av.open(io.BytesIO(one)) as source, av.open(out, "w", format="mp4") as target:
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream)
        packets = [(bytes(packet), packet.is_keyframe) for packet in source.demux(stream) if packet.size]
        step = int(1 / fps / stream.time_base)
        for number in range(times * gop):
            data, key = packets[number % gop]
            packet = av.Packet(data)
            packet.stream, packet.time_base, packet.is_keyframe = copy, stream.time_base, key
            packet.pts = packet.dts = number * step
            packet.duration = step
            target.mux(packet)
    return out.getvalue()
