"""Does the file end where it says it ends? FFmpeg reads a cut file to its end without a word, so we look.

Formats that do not say where they end (Ogg, MPEG program streams, raw H.264) are taken as whole.
"""

import io
import struct
from dataclasses import dataclass
from typing import BinaryIO

from . import mp4

TS_PACKET, TS_SYNC = 188, 0x47
PNG = b"\x89PNG\r\n\x1a\n"
EBML, SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
TAIL = 1 << 16
MOST_LISTS = 10_000  # of one gigabyte each in a long AVI


@dataclass(frozen=True)
class Structure:
    """What the bytes say about themselves.

    Args:
        ends_early: the container announces more bytes than there are.
        counts_frames: the header's number of frames can be compared with what is there.
        readable: bytes worth reading, where what follows would only make FFmpeg give up; None for all.
        is_mp4: FFmpeg may use its mp4 reader, whose tables were checked.
        described: no header is missing without which nothing can be made of the rest.
    """

    ends_early: bool = False
    counts_frames: bool = False
    readable: int | None = None
    is_mp4: bool = False
    described: bool = True


def inspect(file: BinaryIO) -> Structure:
    """Looks at the skeleton of a file; leaves it at position 0.

    Errors: `VideoError` of kind limit or unsupported_container, from `mp4.inspect`.
    """
    try:
        return _inspect(file)
    finally:
        file.seek(0)


def _inspect(file: BinaryIO) -> Structure:
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    head = file.read(5 * TS_PACKET)
    for matches, ends_early in CHECKS:
        if matches(head):
            return Structure(ends_early(file, size), counts_frames=head[:4] == b"RIFF")
    found = mp4.inspect(file, size)
    if found is None:
        return Structure()
    return Structure(
        found.ends_early, not found.has_edits, found.cut_fragment, is_mp4=True, described=found.described
    )


def _riff_ends_early(file: BinaryIO, size: int) -> bool:
    """AVI beyond 1 GB is several RIFF lists in a row; padding after the last is no harm."""
    start = 0
    for _ in range(MOST_LISTS):
        if start + 8 > size:
            break
        file.seek(start)
        kind, length = struct.unpack("<4sI", file.read(8))
        if kind != b"RIFF":
            return False
        start += 8 + length + length % 2
    return start > size + 1  # writers forget the last padding byte


def _matroska_ends_early(file: BinaryIO, size: int) -> bool:
    """A Segment of unknown size (all ones: a live recording) may end anywhere."""
    file.seek(4)
    _, length, used = _vint(file.read(8))
    start = 4 + used + length
    file.seek(start)
    head = file.read(12)
    if head[:4] != SEGMENT:
        return False
    known, length, used = _vint(head[4:])
    return known and start + 4 + used + length > size


def _vint(data: bytes) -> tuple[bool, int, int]:
    """(is it a known value, value, bytes used) of an EBML variable-length size."""
    if not data or not data[0]:
        return False, 0, 1
    used = 9 - data[0].bit_length()
    mask = (1 << (7 * used)) - 1
    value = int.from_bytes(data[:used], "big") & mask
    return value != mask, value, used


def _ts_ends_early(file: BinaryIO, size: int) -> bool:
    return size % TS_PACKET != 0


def _gif_ends_early(file: BinaryIO, size: int) -> bool:
    return not _tail(file, size).rstrip(b"\0").endswith(b";")


def _jpeg_ends_early(file: BinaryIO, size: int) -> bool:
    """Pictures end with FF D9, which cannot occur inside the data of a scan."""
    tail = _tail(file, size)
    return tail.rfind(b"\xff\xd9") <= tail.rfind(b"\xff\xda")


def _png_ends_early(file: BinaryIO, size: int) -> bool:
    return b"IEND" not in _tail(file, size)


def _tail(file: BinaryIO, size: int) -> bytes:
    file.seek(max(0, size - TAIL))
    return file.read(TAIL)


CHECKS = (
    (lambda head: head[:4] == b"RIFF", _riff_ends_early),
    (lambda head: head[:4] == EBML, _matroska_ends_early),
    (
        lambda head: head[:6] in (b"GIF87a", b"GIF89a"),
        _gif_ends_early,
    ),  # before TS: it begins with a G as well
    (lambda head: set(head[::TS_PACKET]) == {TS_SYNC}, _ts_ends_early),
    (lambda head: head[:3] == b"\xff\xd8\xff", _jpeg_ends_early),
    (lambda head: head[:8] == PNG, _png_ends_early),
)
