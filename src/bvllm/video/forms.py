"""Take a video in every form in which people hold one: files, addresses, pictures, frames, lists of files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, TypeGuard

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from bvllm.common.text import local_path

from .frames import FrameList
from .growing import GrowingFile
from .limits import Limits
from .reader import Source, read_video
from .sampling import SamplingPlan

Frames = Tensor | np.ndarray | list[Image.Image] | list[np.ndarray] | list[Tensor] | list[str] | list[Path]
AnySource = str | Path | bytes | BinaryIO | GrowingFile | FrameList | Image.Image | Frames


def as_source(
    given: Any,
    *,
    seconds: Sequence[float] | None = None,
    step: float = 1.0,
    limits: Limits = Limits(),  # noqa: B008 - frozen
) -> Source:
    """What `read_video` takes, from any form.

    A path, `file://` address, bytes or binary file is a file. A picture (PIL, (H, W[, 3 or 4]) array,
    (3, H, W) tensor) is a clip of one frame. Frames are (T, H, W, 3) or (T, 3, H, W) arrays and tensors,
    uint8 or floats in [0, 1], lists of pictures, or lists of files of one picture each.

    Args:
        given: the video.
        seconds: the time of each frame, where frames are given.
        step: seconds from frame to frame where frames come without times.
        limits: what opening files of frames may cost.

    Raises:
        ValueError: float frames out of range, or a file of a list that holds more than a picture.
        VideoError: frames that do not fit each other or their times, or a file of a list that cannot be read.

    Example:
        >>> as_source(np.zeros((2, 4, 4, 3), dtype=np.float32), step=0.5).seconds
        (0.0, 0.5)
    """
    found: Any = [given] if is_picture(given) else _plain(given)
    if (
        isinstance(found, list | tuple)
        and found
        and all(isinstance(frame, str | Path | bytes) for frame in found)
    ):
        found = [_picture_in(frame, limits) for frame in found]
    if not isinstance(found, Tensor | np.ndarray | list | tuple):
        source: Source = found
        return source
    times = [k * step for k in range(len(found))] if seconds is None else seconds
    if isinstance(found, np.ndarray):
        found = list(found)
    elif isinstance(found, list | tuple) and found and isinstance(found[0], Tensor):
        found = torch.stack(list(found))
    return FrameList(found, times)


def is_picture(source: object) -> TypeGuard[Image.Image | np.ndarray | Tensor]:
    """Whether a source is one picture: a PIL image, an (H, W[, 3]) array or a (3, H, W) tensor."""
    if isinstance(source, Image.Image):
        return True
    return isinstance(source, np.ndarray | Tensor) and source.ndim in (2, 3)


def _plain(source: Any) -> Any:
    """Frames as uint8, channels last or in a tensor; and the path that a `file://` address names."""
    if isinstance(source, str):
        return local_path(source)
    if isinstance(source, np.ndarray) and source.ndim == 4 and 3 == source.shape[1] != source.shape[3]:
        source = torch.from_numpy(np.ascontiguousarray(source))
    if isinstance(source, np.ndarray | Tensor) and source.ndim == 4:
        values = torch.as_tensor(source)
        if values.is_floating_point():
            if not bool(((values >= 0) & (values <= 1)).all()):
                raise ValueError(
                    f"float frames must lie in [0, 1], got {float(values.min()):g} to "
                    f"{float(values.max()):g}: scale them, or pass uint8"
                )
            whole = (values * 255).round().to(torch.uint8)
            source = whole if isinstance(source, Tensor) else whole.numpy()
    if isinstance(source, Tensor) and source.ndim == 4 and 3 == source.shape[3] != source.shape[1]:
        return source.permute(0, 3, 1, 2).contiguous()
    return source


def _picture_in(file: str | Path | bytes, limits: Limits) -> NDArray[np.uint8]:
    """(H, W, 3): the one picture of a file, as one of the frames of a video that was taken apart."""
    with read_video(as_source(file), SamplingPlan(fps=None), limits) as stream:
        pictures = [picture for chunk in stream for picture in chunk.pixels]
    if len(pictures) != 1:
        raise ValueError(
            f"a list of files must be the frames of one video, one picture each, got {len(pictures)} in "
            f"{str(file)[:200]!r}: several videos are [{{'type': 'video', 'path': ...}}, ...]"
        )
    frame: NDArray[np.uint8] = pictures[0].permute(1, 2, 0).numpy()
    return frame
