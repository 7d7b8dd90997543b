"""Check a file before FFmpeg sees it: does it end where it says, can its bytes hold what mp4 tables claim?

FFmpeg reads a cut file to its end without a word, so `inspect_structure` checks. Formats that do not say
where they end (Ogg, MPEG program streams, raw H.264) are taken as whole.

FFmpeg builds an index from an mp4's sample tables while it opens the file, and believes them: 600 bytes that
claim 40 million samples cost 1.4 GB, and no option of FFmpeg stops it. `inspect_mp4` adds the claims up and
refuses those that the bytes cannot hold. The same walk finds out whether the file ends before its last box
does.

Source: ISO/IEC 14496-12 (box layouts), libavformat/mov.c (what is believed).
"""

import io
import struct
from dataclasses import dataclass, field
from typing import BinaryIO

import numpy as np

from .errors import VideoError
from .safe_open import View

TS_PACKET, TS_SYNC = 188, 0x47
PNG = b"\x89PNG\r\n\x1a\n"
EBML, SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
TAIL = 1 << 16
MOST_LISTS = 10_000  # of one gigabyte each in a long AVI
TOP_LEVEL = frozenset(
    (
        b"ftyp",
        b"moov",
        b"mdat",
        b"moof",
        b"free",
        b"skip",
        b"wide",
        b"styp",
        b"sidx",
        b"uuid",
        b"pnot",
        b"mfra",
        b"meta",
    )
)
CONTAINERS = frozenset(
    (
        b"moov",
        b"trak",
        b"mdia",
        b"minf",
        b"stbl",
        b"edts",
        b"moof",
        b"traf",
        b"mvex",
        b"udta",
        b"dinf",
        b"wave",
    )
)
HIDDEN_MOOV = frozenset((b"mvhd", b"cmov"))  # FFmpeg takes a `free` box that begins so for a moov
DEEPEST = 12  # FFmpeg itself stops at 10
MOST_BOXES = 2_000_000
MOST_TRACKS = 128  # FFmpeg is allowed 32
MOST_SAMPLES = 12_000_000  # in all tracks: a day of 60 frames a second with sound
MOST_FREE_SAMPLES = 1_000_000  # that cost the file no bytes in a table
MOST_EDITED = 20_000_000  # edits x samples: each edit may list every sample again
CHUNK_SAMPLES = 1024  # FFmpeg makes an index entry per so many samples of plain sound
BLOCK = 1 << 20
File = BinaryIO | View


@dataclass(frozen=True)
class Structure:
    """What the bytes say about themselves.

    Args:
        ends_early: the container announces more bytes than there are.
        counts_frames: the header's number of frames can be compared with the frames in the file.
        readable: bytes worth reading, where what follows would only make FFmpeg give up; None for all.
        is_mp4: FFmpeg may use its mp4 reader, whose tables were checked.
        described: no header is missing without which nothing can be made of the rest.
    """

    ends_early: bool = False
    counts_frames: bool = False
    readable: int | None = None
    is_mp4: bool = False
    described: bool = True


def inspect_structure(file: BinaryIO) -> Structure:
    """Reads the boxes of a file, not its samples; leaves it at position 0.

    Raises:
        VideoError: of kind limit or unsupported_container, from `inspect_mp4`.
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
    found = inspect_mp4(file, size)
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


@dataclass
class Track:
    """What one track claims."""

    sound: bool = False
    samples: int = 0
    sample_bytes: int = 0  # size of every sample, 0 where each has its own
    timed: int = 0  # samples that the time tables speak of
    plain: bool = False  # one tick per sample: uncompressed sound, indexed by chunk
    per_chunk: int = 0
    chunks: int = 0
    edits: int = 0

    @property
    def entries(self) -> int:
        """Upper bound of the index that FFmpeg builds."""
        if self.sound and self.plain:
            return self.chunks * (self.per_chunk // CHUNK_SAMPLES + 1)
        return max(self.samples, self.timed)


@dataclass
class Mp4:
    """What the walk found."""

    size: int
    boxes: int = 0
    known: bool = False
    described: bool = False  # there is a header that says what is in the file
    ends_early: bool = False
    cut_fragment: int | None = (
        None  # where a fragment begins whose header is cut: FFmpeg would give up on the file
    )
    free_samples: int = 0
    tracks: list[Track] = field(default_factory=lambda: [Track()])

    @property
    def has_edits(self) -> bool:
        """Whether an edit list may show other frames than the file holds."""
        return any(track.edits for track in self.tracks)


def inspect_mp4(file: File, size: int) -> Mp4 | None:
    """Walks over the boxes; None if the file is no mp4.

    Raises:
        VideoError: of kind limit where the tables claim more than they may, unsupported_container
        where they are hidden.
    """
    found = Mp4(size)
    walk_boxes(file, found, 0, size, depth=0)
    if not found.known:
        return None
    judge(found)
    return found


def box_lengths(head: bytes, left: int) -> tuple[int, int]:
    """(bytes of a box, bytes of its header); a box may leave its length out, and take all that is left."""
    length = int.from_bytes(head[:4], "big")
    if length == 1 and len(head) == 16:
        return int.from_bytes(head[8:], "big"), 16
    return length or left, 8


def walk_boxes(file: File, found: Mp4, start: int, end: int, depth: int) -> None:
    """Adds up what the boxes between two places claim; errors as for `inspect_mp4`."""
    if depth > DEEPEST:
        raise VideoError(
            "limit", f"mp4 boxes must nest at most {DEEPEST} deep, got deeper ones: remux the file"
        )
    while start + 8 <= end:
        found.boxes += 1
        if found.boxes > MOST_BOXES:
            raise VideoError("limit", f"mp4 must have at most {MOST_BOXES} boxes, got more: remux the file")
        file.seek(start)
        head = file.read(16)
        kind, (length, header) = head[4:8], box_lengths(head, end - start)
        if length < header or (
            depth == 0 and kind not in TOP_LEVEL and not found.known and not kind.isalnum()
        ):
            return
        if depth == 0 and kind in TOP_LEVEL:
            found.known = True
            found.described = found.described or kind == b"moov"
            if start + length > end:
                found.ends_early = True
                found.cut_fragment = start if kind == b"moof" else None
        _enter(file, found, kind, start + header, min(end, start + length), depth)
        start += length


def _enter(file: File, found: Mp4, kind: bytes, start: int, end: int, depth: int) -> None:
    if kind == b"cmov":
        raise VideoError(
            "unsupported_container", "mp4 header must not be compressed, got one that is: remux the file"
        )
    if kind == b"trak":
        if len(found.tracks) > MOST_TRACKS:
            raise VideoError("limit", f"mp4 must have at most {MOST_TRACKS} tracks, got more: remux the file")
        found.tracks.append(Track())
    if kind in (b"free", b"hoov"):
        file.seek(start)
        hidden = file.read(8)[4:] in HIDDEN_MOOV
        if hidden:
            walk_boxes(file, found, start, end, depth + 1)
    elif kind in CONTAINERS:
        walk_boxes(file, found, start, end, depth + 1)
    elif kind == b"meta" and depth:
        walk_boxes(file, found, start + 4, end, depth + 1)
    elif kind in READERS:
        file.seek(start)
        READERS[kind](file, found, end - start)


def _sizes(file: File, found: Mp4, room: int) -> None:
    _, fixed, count = _unpack(">III", file)
    track = found.tracks[-1]
    track.sample_bytes = fixed
    track.samples = count if fixed else min(count, max(0, room - 12) // 4)


def _small_sizes(file: File, found: Mp4, room: int) -> None:
    _, bits, count = _unpack(">III", file)
    found.tracks[-1].samples = min(count, max(0, room - 12) * 8 // (bits & 0xFF or 4))


def _times(file: File, found: Mp4, room: int) -> None:
    _, count = _unpack(">II", file)
    track, total, first_delta = found.tracks[-1], 0, 0
    left = min(count, max(0, room - 8) // 8)
    for begin in range(0, left, BLOCK):
        pairs = np.frombuffer(file.read(8 * min(BLOCK, left - begin)), dtype=">u4")
        first_delta = first_delta or (int(pairs[1]) if len(pairs) > 1 else 0)
        total += int(pairs[: len(pairs) // 2 * 2 : 2].sum(dtype=np.int64))
    track.timed = max(track.timed, total)
    track.plain = track.plain or (left == 1 and first_delta == 1)


def _chunk_lengths(file: File, found: Mp4, room: int) -> None:
    _, count = _unpack(">II", file)
    left = min(count, max(0, room - 8) // 12)
    for begin in range(0, left, BLOCK):
        rows = np.frombuffer(file.read(12 * min(BLOCK, left - begin)), dtype=">u4")
        longest = rows[1 : len(rows) // 3 * 3 : 3]
        found.tracks[-1].per_chunk = max(found.tracks[-1].per_chunk, int(longest.max(initial=0)))


def _chunks(file: File, found: Mp4, room: int) -> None:
    found.tracks[-1].chunks = min(_unpack(">II", file)[1], max(0, room - 8) // 4)


def _edits(file: File, found: Mp4, room: int) -> None:
    found.tracks[-1].edits = min(_unpack(">II", file)[1], max(0, room - 8) // 12)


def _run(file: File, found: Mp4, room: int) -> None:
    flags, count = _unpack(">II", file)
    if flags & 0xF00:  # each sample has four bytes or more of its own
        found.tracks[-1].samples += min(count, room // 4)
    else:
        found.free_samples += count


def _handler(file: File, found: Mp4, room: int) -> None:
    found.tracks[-1].sound = file.read(12)[8:] == b"soun"


READERS = {
    b"stsz": _sizes,
    b"stz2": _small_sizes,
    b"stts": _times,
    b"ctts": _times,
    b"stsc": _chunk_lengths,
    b"stco": _chunks,
    b"co64": _chunks,
    b"elst": _edits,
    b"trun": _run,
    b"hdlr": _handler,
}


def judge(found: Mp4) -> None:
    """Refuse claims of more than the bytes can hold: `VideoError` of kind limit."""
    free = found.free_samples
    for track in found.tracks:
        fits = track.samples * track.sample_bytes <= found.size or (track.sound and track.plain)
        free += track.samples if track.sample_bytes and not fits else 0
        if track.edits > 1 and track.edits * track.samples > MOST_EDITED:
            raise _bomb(track.edits * track.samples)
    total = sum(track.entries for track in found.tracks)
    if free > MOST_FREE_SAMPLES or total > MOST_SAMPLES:
        raise _bomb(max(free, total))


def _bomb(claimed: int) -> VideoError:
    return VideoError(
        "limit",
        f"mp4 tables must describe samples that the file can hold, got a claim of {claimed}: remux the file",
    )


def _unpack(layout: str, file: File) -> tuple[int, ...]:
    size = struct.calcsize(layout)
    return struct.unpack(layout, file.read(size).ljust(size, b"\0"))
