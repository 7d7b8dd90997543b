"""Pictures: what goes in when there is no file, and what comes out."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor
from torch.nn import functional

from .errors import VideoError


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
            uint8 arrays.
        seconds: one time per frame, strictly ascending; they are counted from the first.

    Errors: `VideoError` of kind "usage" where lengths, types, shapes or times do not fit.

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
            return to_planes(np.asarray(ImageOps.exif_transpose(frame).convert("RGB")))
        if isinstance(frame, np.ndarray) and frame.dtype == np.uint8:
            if frame.ndim == 2:
                return to_planes(np.repeat(frame[..., None], 3, axis=2))
            if frame.ndim == 3 and frame.shape[2] in (3, 4):
                return to_planes(frame[..., :3])
        what = f"{frame.dtype} {frame.shape}" if isinstance(frame, np.ndarray) else type(frame).__name__
        raise _usage(f"frame {index}", "be a PIL image or a uint8 array (H, W), (H, W, 3) or (H, W, 4)", what)


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


def _usage(what: str, rule: str, got: str) -> VideoError:
    return VideoError("usage", f"{what} must {rule}, got {got}: change what is passed to FrameList")
