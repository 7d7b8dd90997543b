"""Which way is up in a photo: the orientation tag of a JPEG or WebP file.

Read here because PyAV cannot read it and an image library may decode the whole picture to find it.

Source: EXIF 2.32, sec. 4.5 (segments) and table 6 (the eight values); WebP container specification.
"""

import struct
from typing import BinaryIO

from .orientation import Orientation

TAG, SHORT = 0x0112, 3
MOST_ENTRIES = 200
MOST_SEGMENTS = 1000  # cameras write a dozen; a file of nothing else would keep us for hours
LONGEST = 1 << 20
PREFIX = b"Exif\0\0"
VALUES = {
    1: Orientation(),
    2: Orientation(0, mirrored=True),
    3: Orientation(180),
    4: Orientation(180, mirrored=True),
    5: Orientation(270, mirrored=True),
    6: Orientation(90),
    7: Orientation(90, mirrored=True),
    8: Orientation(270),
}


def photo_orientation(file: BinaryIO) -> Orientation:
    """The orientation that a JPEG or WebP file asks for; upright for other files, or where it is silent."""
    file.seek(0)
    head = file.read(12)
    if head[:3] == b"\xff\xd8\xff":
        block = _jpeg_block(file)
    elif head[:4] == b"RIFF" and head[8:] == b"WEBP":
        block = _webp_block(file)
    else:
        return Orientation()
    return VALUES.get(_orientation_value(block.removeprefix(PREFIX)), Orientation())


def _jpeg_block(file: BinaryIO) -> bytes:
    """The APP1 segment that holds EXIF; segments lie one after another until the picture starts."""
    file.seek(2)
    for _ in range(MOST_SEGMENTS):
        head = file.read(4)
        if len(head) < 4 or head[0] != 0xFF or head[1] == 0xDA:
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
    """Walks over the first directory of a TIFF block; 1 (upright) where it says nothing."""
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
