"""Which way is up: the display matrix of a video, the EXIF tag of a photo."""

import math
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import BinaryIO, cast

import av
from av.sidedata.sidedata import SideData
from PIL import Image, UnidentifiedImageError
from torch import Tensor

EXIF_ORIENTATION = 0x0112
DISPLAY_MATRIX_BYTES = 36
SMALLEST_DETERMINANT = 1 << 20  # 16.16 fixed point: below this the matrix shows nothing


@dataclass(frozen=True)
class Orientation:
    """How to turn a stored picture upright: mirror left-right if `mirrored`, then turn `rotation` degrees.

    Degrees are clockwise.

    Example:
        >>> Orientation(rotation=90).apply(torch.arange(6).view(1, 2, 3)).tolist()
        [[[3, 0], [4, 1], [5, 2]]]
    """

    rotation: int = 0
    mirrored: bool = False

    def apply(self, picture: Tensor) -> Tensor:
        """(C, H, W) stored -> (C, H', W') upright."""
        turned = picture.flip(-1) if self.mirrored else picture
        return turned.rot90(-(self.rotation // 90), (-2, -1)) if self.rotation else turned

    @property
    def sideways(self) -> bool:
        """Whether width and height change places."""
        return self.rotation % 180 == 90


# EXIF 2.32, table 6: the eight values of the orientation tag.
EXIF = {
    1: Orientation(),
    2: Orientation(0, mirrored=True),
    3: Orientation(180),
    4: Orientation(180, mirrored=True),
    5: Orientation(270, mirrored=True),
    6: Orientation(90),
    7: Orientation(90, mirrored=True),
    8: Orientation(270),
}


def from_matrix(matrix: bytes) -> Orientation:
    """The nearest upright orientation to an FFmpeg display matrix (nine int32 in native order)."""
    a, b, _, c, d = struct.unpack("=9i", matrix[:DISPLAY_MATRIX_BYTES])[:5]
    determinant = a * d - b * c
    if abs(determinant) < SMALLEST_DETERMINANT:
        return Orientation()
    if determinant < 0:
        a, b = -a, -b
    return Orientation(round(math.degrees(math.atan2(b, a)) / 90) * 90 % 360, mirrored=determinant < 0)


def of_frame(frame: av.VideoFrame) -> Orientation:
    """The display matrix that the decoder hands on with a frame.

    `frame.rotation` would not do: it says -180 for a mirrored picture and 0 for one upside down.
    """
    try:
        sides = cast(Iterable[SideData], frame.side_data)  # the stub names one item, it is a container
        for data in sides:
            if data.type.name == "DISPLAYMATRIX" and len(bytes(data)) >= DISPLAY_MATRIX_BYTES:
                return from_matrix(bytes(data))
    except ValueError:  # PyAV 18.1 does not know EXIF side data; photos are handled by `of_photo`
        return Orientation()
    return Orientation()


def of_photo(file: BinaryIO) -> Orientation:
    """The EXIF orientation of a JPEG, PNG or WebP file; upright where there is none."""
    file.seek(0)
    try:
        with Image.open(file, formats=("JPEG", "PNG", "WEBP")) as image:
            return EXIF.get(image.getexif().get(EXIF_ORIENTATION, 1), Orientation())
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return Orientation()  # no EXIF that can be read; whether there is a picture, the decoder says
