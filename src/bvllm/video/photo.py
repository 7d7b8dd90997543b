"""Read what a photo's file says beside its pixels: which way is up, where the picture ends, whether it moves.

We parse it ourselves, because PyAV cannot read it and an image library may decode the whole picture to find
it.

Source: EXIF 2.32, sec. 4.5 (segments) and table 6 (the eight values); ITU-T T.81, annex B (markers); WebP
container specification.
"""

import struct
from dataclasses import dataclass
from typing import BinaryIO

from .frames import Orientation

TAG, SHORT = 0x0112, 3  # EXIF: the orientation tag and the type of its value
MOST_ENTRIES = 200  # of an EXIF directory
MOST_SEGMENTS = 1000  # cameras write a dozen; a file of nothing else would keep us for hours
LONGEST = 1 << 20  # bytes of an EXIF block
PREFIX = b"Exif\0\0"
JPEG, START_OF_SCAN, END_OF_IMAGE = b"\xff\xd8\xff", 0xDA, 0xD9
# What may stand between the bytes of a scan: a stuffed FF, restart marks, filling.
INSIDE_A_SCAN = frozenset((0x00, 0xFF, *range(0xD0, 0xD8)))
BLOCK = 1 << 20
ANIMATED = 0x02  # a flag of WebP's VP8X chunk


@dataclass(frozen=True)
class Photo:
    """What a picture's file says.

    Attributes:
        orientation: how its pixels must be turned.
        end: where the first picture of a JPEG ends, if more lies behind it: phones keep a depth map, a
            brighter version or a short film there. None where nothing does, or it is no JPEG.
        animated: a WebP of several frames.
    """

    orientation: Orientation = Orientation()  # noqa: RUF009 - frozen
    end: int | None = None
    animated: bool = False


def read_photo(file: BinaryIO) -> Photo:
    """What the file says; a `Photo` of nothing for other files, or where it is silent."""
    file.seek(0)
    head = file.read(21)
    if head[:3] == JPEG:
        return Photo(_orientation(_jpeg_block(file)), _end_of_first(file))
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        file.seek(12)
        animated = len(head) == 21 and head[12:16] == b"VP8X" and bool(head[20] & ANIMATED)
        return Photo(_orientation(_webp_block(file)), animated=animated)
    return Photo()


def _end_of_first(file: BinaryIO) -> int | None:
    """Where the first picture ends, if anything but filling lies behind it."""
    file.seek(2)
    end = _end_of_scans(file) if _seek_scan(file) else None
    if end is None:
        return None
    file.seek(end)
    return end if file.read(BLOCK).strip(b"\0") else None


def _seek_scan(file: BinaryIO) -> bool:
    """Go behind the header of the first scan."""
    for _ in range(MOST_SEGMENTS):
        head = file.read(4)
        if len(head) < 4 or head[0] != 0xFF:
            return False
        file.seek(max(2, int.from_bytes(head[2:], "big")) - 2, 1)
        if head[1] == START_OF_SCAN:
            return True
    return False


def _end_of_scans(file: BinaryIO) -> int | None:
    """The place behind the mark that ends the picture; between scans of a progressive one lie tables."""
    segments = 0
    place = file.tell()
    while block := file.read(BLOCK):
        at = block.find(b"\xff")
        while 0 <= at < len(block) - 1:
            mark = block[at + 1]
            if mark == END_OF_IMAGE:
                return place + at + 2
            if mark not in INSIDE_A_SCAN:
                break
            at = block.find(b"\xff", at + (1 if mark == 0xFF else 2))
        if at < 0:
            place += len(block)
        elif at == len(block) - 1:  # the mark begins the next block
            if len(block) == 1:
                return None
            place += at
        else:  # a segment between scans
            segments += 1
            file.seek(place + at + 2)
            length = int.from_bytes(file.read(2), "big")
            if segments > MOST_SEGMENTS or length < 2:
                return None
            place += at + 2 + length
        file.seek(place)
    return None


def _orientation(block: bytes) -> Orientation:
    return VALUES.get(_orientation_value(block.removeprefix(PREFIX)), Orientation())


VALUES = {  # of the EXIF tag
    1: Orientation(),
    2: Orientation(0, mirrored=True),
    3: Orientation(180),
    4: Orientation(180, mirrored=True),
    5: Orientation(270, mirrored=True),
    6: Orientation(90),
    7: Orientation(90, mirrored=True),
    8: Orientation(270),
}


def _jpeg_block(file: BinaryIO) -> bytes:
    """The APP1 segment that holds EXIF; segments lie one after another until the picture starts."""
    file.seek(2)
    for _ in range(MOST_SEGMENTS):
        head = file.read(4)
        if len(head) < 4 or head[0] != 0xFF or head[1] == START_OF_SCAN:
            break
        length = max(2, int.from_bytes(head[2:], "big"))
        body = file.read(length - 2)
        if head[1] == 0xE1 and body.startswith(PREFIX):
            return body
    return b""


def _webp_block(file: BinaryIO) -> bytes:
    for _ in range(MOST_SEGMENTS):
        head = file.read(8)
        if len(head) < 8:
            break
        length = int.from_bytes(head[4:], "little")
        if head[:4] == b"EXIF":
            return file.read(min(length, LONGEST))
        file.seek(length + length % 2, 1)
    return b""


def _orientation_value(tiff: bytes) -> int:
    """Walks over the first directory of a TIFF block; 1 (upright) where it has no orientation."""
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None or len(tiff) < 8:
        return 1
    start = struct.unpack_from(order + "I", tiff, 4)[0]
    if start + 2 > len(tiff):
        return 1
    count = struct.unpack_from(order + "H", tiff, start)[0]
    for entry in range(start + 2, start + 2 + 12 * min(count, MOST_ENTRIES), 12):
        if entry + 12 > len(tiff):
            return 1
        tag, kind = struct.unpack_from(order + "HH", tiff, entry)
        if (tag, kind) == (TAG, SHORT):
            return int(struct.unpack_from(order + "H", tiff, entry + 8)[0])
    return 1
