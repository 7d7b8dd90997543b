"""From a decoded frame to upright RGB of the wanted size. Only frames that are kept come here."""

from typing import cast

import av
import numpy as np
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter
from numpy.typing import NDArray
from torch import Tensor

from .frames import resize, to_planes
from .orientation import Orientation, of_frame

# The fast converter, in its form that gives the same bytes on every machine. ACCURATE_RND would cost fifteen
# times as much for less than one grey level on average.
REPEATABLE = Interpolation.BICUBIC | Interpolation.BITEXACT


class Developer:
    """Converts frames of one stream.

    Args:
        size: (height, width) of the result, whatever the shape of the frame; None keeps the picture as it
            is shown.
        pixel_ratio: width of a stored pixel over its height.
        photo: the orientation of a still image, which no decoder tells; None asks each frame.
        max_pixels: of the picture as it is shown; pixels are taken for square where it would be larger.
    """

    def __init__(
        self, size: tuple[int, int] | None, pixel_ratio: float, photo: Orientation | None, max_pixels: int
    ) -> None:
        self._size = size
        self._ratio = pixel_ratio
        self._photo = photo
        self._max_pixels = max_pixels
        self._converter = VideoReformatter()

    def orientation(self, frame: av.VideoFrame) -> Orientation:
        """How the frame has to be turned."""
        return of_frame(frame) if self._photo is None else self._photo

    def shown_size(self, frame: av.VideoFrame) -> tuple[int, int]:
        """(height, width) upright and with square pixels."""
        width = max(1, round(frame.width * self._ratio))
        if width * frame.height > self._max_pixels:
            width = frame.width
        return (width, frame.height) if self.orientation(frame).sideways else (frame.height, width)

    def develop(self, frame: av.VideoFrame) -> Tensor:
        """(3, h, w) uint8 RGB, full range."""
        rgb = self._converter.reformat(
            frame, format="rgb24", interpolation=REPEATABLE, dst_color_range=ColorRange.JPEG, threads=1
        )
        upright = self.orientation(frame).apply(to_planes(cast(NDArray[np.uint8], rgb.to_ndarray())))
        return resize(upright, self._size or self.shown_size(frame))
