"""Check the frames a caller passes in, turn decoded frames into upright RGB, resize it.

`FrameConverter` converts only the frames that are kept.
"""

import math
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

import av
import av.error
import numpy as np
import torch
from av.sidedata.sidedata import SideData
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor
from torch.nn import functional

from .errors import VideoError

DISPLAY_MATRIX_BYTES = 36
SMALLEST_DETERMINANT = 1 << 20  # 16.16 fixed point: below this the matrix shows nothing
# The fast converter, in its form that gives the same bytes on every machine. ACCURATE_RND would cost fifteen
# times as much for less than one grey level on average.
REPEATABLE = Interpolation.BICUBIC | Interpolation.BITEXACT
UNSPECIFIED = 2  # a colour space, in the numbers of ISO 23091-2


@dataclass(frozen=True)
class FrameChunk:
    """Some frames of one video, in order.

    Shapes: pixels (t, 3, h, w) uint8 RGB; seconds (t,) float64, since the first frame of the video,
        ascending.
    """

    pixels: Tensor
    seconds: Tensor

    def __len__(self) -> int:
        return len(self.seconds)


@dataclass(frozen=True)
class FrameList:
    """Frames that are in memory already, with the second at which each is shown.

    Args:
        frames: a (T, 3, H, W) uint8 tensor, or a list of PIL images and (H, W), (H, W, 3) or (H, W, 4)
            uint8 arrays; transparent ones are laid on white.
        seconds: one time per frame, strictly ascending; they are counted from the first.

    Raises:
        VideoError: of kind "usage" where lengths, types, shapes or times do not fit.

    Example:
        >>> FrameList(torch.zeros(2, 3, 4, 4, dtype=torch.uint8), (0.0, 0.5)).seconds
        (0.0, 0.5)
    """

    frames: Tensor | Sequence[Image.Image | NDArray[np.uint8]]
    seconds: Sequence[float]

    def __post_init__(self) -> None:
        object.__setattr__(self, "seconds", tuple(float(s) for s in self.seconds))
        if len(self.frames) != len(self.seconds):
            raise _usage(
                "seconds", "have one value per frame", f"{len(self.seconds)} for {len(self.frames)} frames"
            )
        if not self.seconds:
            raise VideoError("empty", "frames must hold at least one picture, got none: pass one or more")
        if not all(math.isfinite(s) for s in self.seconds):
            raise _usage("seconds", "be finite", str(self.seconds))
        if any(b <= a for a, b in zip(self.seconds, self.seconds[1:])):
            raise _usage("seconds", "ascend strictly", str(self.seconds[:8]))
        tensor = self.frames
        if isinstance(tensor, Tensor) and not (
            tensor.dtype == torch.uint8 and tensor.ndim == 4 and tensor.shape[1] == 3
        ):
            raise _usage("frames", "be uint8 (T, 3, H, W)", f"{tensor.dtype} {tuple(tensor.shape)}")

    def picture(self, index: int) -> Tensor:
        """(3, H, W) uint8 RGB."""
        frame = self.frames[index]
        if isinstance(frame, Tensor):
            return frame
        if isinstance(frame, Image.Image):
            upright = ImageOps.exif_transpose(frame)
            return to_planes(
                on_white(np.asarray(upright.convert("RGBA" if upright.has_transparency_data else "RGB")))
            )
        if isinstance(frame, np.ndarray) and frame.dtype == np.uint8:
            if frame.ndim == 2:
                return to_planes(np.repeat(frame[..., None], 3, axis=2))
            if frame.ndim == 3 and frame.shape[2] in (3, 4):
                return to_planes(on_white(frame))
        what = f"{frame.dtype} {frame.shape}" if isinstance(frame, np.ndarray) else type(frame).__name__
        raise _usage(f"frame {index}", "be a PIL image or a uint8 array (H, W), (H, W, 3) or (H, W, 4)", what)


def on_white(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W, 3 or 4) -> (H, W, 3): what is transparent lies on white, in every form that pictures come in.

    Example:
        >>> on_white(np.array([[[0, 0, 0, 0], [10, 20, 30, 255]]], np.uint8)).tolist()
        [[[255, 255, 255], [10, 20, 30]]]
    """
    if picture.shape[2] == 3:
        return picture
    alpha = picture[..., 3:]
    if bool((alpha == 255).all()):
        return picture[..., :3]
    share = alpha.astype(np.uint16)
    laid: NDArray[np.uint8] = ((picture[..., :3] * share + 255 * (255 - share) + 127) // 255).astype(np.uint8)
    return laid


def to_planes(rgb: NDArray[np.uint8]) -> Tensor:
    """(H, W, 3) array -> (3, H, W) tensor that owns its memory."""
    return torch.from_numpy(np.array(rgb, dtype=np.uint8, order="C")).permute(2, 0, 1)


def resize(picture: Tensor, size: tuple[int, int]) -> Tensor:
    """(3, H, W) uint8 -> (3, h, w) uint8, bicubic with antialiasing.

    On uint8, never on float: integer arithmetic gives what Pillow gives to within two grey levels, float is
    off by twelve.
    """
    if tuple(picture.shape[-2:]) == size:
        return picture
    return functional.interpolate(picture[None], size=size, mode="bicubic", antialias=True)[0]


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

    `frame.rotation` would not do: it gives -180 for a mirrored picture and 0 for one upside down.
    """
    try:
        sides = cast(Iterable[SideData], frame.side_data)  # the stub names one item, it is a container
        for data in sides:
            if data.type.name == "DISPLAYMATRIX" and len(bytes(data)) >= DISPLAY_MATRIX_BYTES:
                return from_matrix(bytes(data))
    except ValueError:  # PyAV 18.1 does not know EXIF side data; `photo_orientation` reads it
        return Orientation()
    return Orientation()


class FrameConverter:
    """Converts frames of one stream.

    Args:
        size: (height, width) of the result, whatever the shape of the frame; None keeps the picture as it
            is shown.
        pixel_ratio: width of a stored pixel over its height.
        photo: the orientation of a still image, which no decoder reports; None reads it from each frame.
        max_pixels: of the picture as it is shown; pixels are taken for square where it would be larger.
    """

    def __init__(
        self, size: tuple[int, int] | None, pixel_ratio: float, photo: Orientation | None, max_pixels: int
    ) -> None:
        self._size = size
        self._ratio = pixel_ratio
        self._photo = photo
        self._max_pixels = max_pixels
        self._reformatter = VideoReformatter()
        self._form: tuple[int, int, int] | None = None
        self._turned = Orientation()

    def orientation(self, frame: av.VideoFrame) -> Orientation:
        """How the frame has to be turned; a stream changes that with its size or its rotation.

        Asking PyAV for side data ties the frame into a cycle, which keeps its picture until the collector
        comes by: 30 MB for each frame of 8 megapixels. So it is asked once.
        """
        if self._photo is not None:
            return self._photo
        form = frame.width, frame.height, frame.rotation
        if form != self._form:
            self._form, self._turned = form, of_frame(frame)
        return self._turned

    def shown_size(self, frame: av.VideoFrame) -> tuple[int, int]:
        """(height, width) upright and with square pixels."""
        width = max(1, round(frame.width * self._ratio))
        if width * frame.height > self._max_pixels:
            width = frame.width
        return (width, frame.height) if self.orientation(frame).sideways else (frame.height, width)

    def convert(self, frame: av.VideoFrame) -> Tensor:
        """(3, h, w) uint8 RGB, full range.

        Raises:
            VideoError: of kind corrupt, where FFmpeg does not know the form of the picture.
        """
        try:
            rgb = self._to_rgb(frame)
        except av.error.MemoryError:
            raise  # of the process, not of the picture
        except av.FFmpegError:
            # The file names colours that its pixels cannot have, as damaged ones do: go by the pixels.
            frame.colorspace = UNSPECIFIED
            try:
                rgb = self._to_rgb(frame)
            except av.FFmpegError:
                form = f"picture must be in a form that can be converted, got {frame.format.name}"
                raise VideoError("corrupt", f"{form}: convert the video") from None
        shown = on_white(cast(NDArray[np.uint8], rgb.to_ndarray()))
        upright = self.orientation(frame).apply(to_planes(shown))
        return resize(upright, self._size or self.shown_size(frame))

    def _to_rgb(self, frame: av.VideoFrame) -> av.VideoFrame:
        clear = frame.format.has_palette or any(part.is_alpha for part in frame.format.components)
        return self._reformatter.reformat(
            frame,
            format="rgba" if clear else "rgb24",
            interpolation=REPEATABLE,
            dst_color_range=ColorRange.JPEG,
            threads=1,
        )


def _usage(what: str, rule: str, got: str) -> VideoError:
    return VideoError("usage", f"{what} must {rule}, got {got}: change what is passed to FrameList")
