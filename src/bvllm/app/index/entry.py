"""The nouns of the index: what is written about a video, and what comes back."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from torch import Tensor

from bvllm.app.index.key import IndexKey
from bvllm.video import VideoInfo, VideoReport

# Arrays of the frame map, by name: the index keeps them and does not look into them.
FrameMapArrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class IndexMeta:
    """What a person, or a search, wants to know of an indexed video.

    Attributes:
        source: the path as it was given.
        fps: frames looked at per second of video; None where every frame was taken.
        made_at: seconds since 1970.
        version: of bvllm.
        info, report: what the video is, and what reading it gave.
    """

    source: str
    fps: float | None
    made_at: float
    version: str
    info: VideoInfo
    report: VideoReport

    @property
    def name(self) -> str:
        """The file's own name."""
        return Path(self.source).name

    @property
    def duration(self) -> float:
        """Seconds from the first frame to the end of the last."""
        return self.report.seconds


@dataclass(frozen=True)
class IndexEntry:
    """What is written for one video.

    Shapes: features (T, C) float32, float16 or bfloat16, kept as given; seconds (T,) float64.
    """

    features: Tensor
    seconds: Tensor
    frame_map: FrameMapArrays
    meta: IndexMeta


@dataclass(frozen=True, eq=False)
class IndexedVideo:
    """A sound entry. Features lie in the file and are read from it when they are used.

    The file may be removed or replaced meanwhile: what was opened stays as it was.

    Shapes: features (T, C) float32, float16 or bfloat16; seconds (T,) float64.

    Attributes:
        key: what it was made from.
        path: the entry's file.
        bytes: its size.
    """

    key: IndexKey
    features: Tensor
    seconds: Tensor
    frame_map: dict[str, NDArray[Any]]
    meta: IndexMeta
    path: Path
    bytes: int

    def __len__(self) -> int:
        return len(self.seconds)


@dataclass(frozen=True)
class EntrySummary:
    """An entry as its header tells it, unverified: for listings.

    Attributes:
        used_at: seconds since 1970 when it was last found.
    """

    key: IndexKey
    meta: IndexMeta
    frames: int
    channels: int
    bytes: int
    used_at: float


def check_rows(features: Tensor, seconds: Tensor) -> None:
    """Refuse features and seconds that do not fit each other.

    Errors:
        ValueError.
    """
    if features.ndim != 2 or not features.numel():
        raise ValueError(
            f"features must be a matrix (T, C) with something in it, got shape {tuple(features.shape)}: "
            "give one row per frame"
        )
    if tuple(seconds.shape) != features.shape[:1]:
        raise ValueError(
            f"seconds must have one entry for each frame ({len(features)}), got shape "
            f"{tuple(seconds.shape)}: cut or fill them"
        )
    if not bool(seconds.isfinite().all()) or not bool((seconds[1:] > seconds[:-1]).all()):
        raise ValueError(
            f"seconds must be finite and ascend, got {seconds.tolist()[:8]}: give the times of the frames"
        )
