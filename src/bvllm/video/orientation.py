"""Which way is up in a video: its display matrix."""

import math
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

import av
from av.sidedata.sidedata import SideData
from torch import Tensor

DISPLAY_MATRIX_BYTES = 36
SMALLEST_DETERMINANT = 1 << 20  # 16.16 fixed point: below this the matrix shows nothing


@dataclass(frozen=True)
class Orientation:
    """How to turn a stored picture upright: mirror left-right if `mirrored`, then turn `rotation` degrees.

    Degrees are clockwise.

    Example:
        >>> import torch
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
    except ValueError:  # PyAV 18.1 does not know EXIF side data; `exif` reads it from photos
        return Orientation()
    return Orientation()
