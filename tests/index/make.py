"""Keys and entries whose every number follows from a seed, so that any process can say what must be there."""

from pathlib import Path

import numpy as np
import torch

from bvllm.index import IndexedVideo, IndexEntry, IndexKey, IndexMeta, sampling_settings
from bvllm.video import VideoInfo, VideoReport, VideoWarning


def key_of(seed: int) -> IndexKey:
    return IndexKey(f"{seed:064x}", sampling_settings(1.0, (16, 16)), "tower")


def meta_of(seed: int) -> IndexMeta:
    info = VideoInfo(
        "mov", "h264", 96, 64, 96, 64, 0, False, "yuv420p", duration_seconds=4.0, frame_rate=2.0, frames=8,
        bytes=1000, still=False,
    )  # fmt: skip
    warnings = (VideoWarning("short", "a hint"),)
    report = VideoReport(asked=4, got=4, seconds=4.0, warnings=warnings, complete=True)
    return IndexMeta(f"videos/{seed}.mp4", 1.0, 1e9 + seed, "0.1.0", info, report)


def rows_of(seed: int, frames: int, dtype: torch.dtype = torch.float32, channels: int = 4) -> torch.Tensor:
    return torch.randn(frames, channels, generator=torch.Generator().manual_seed(seed)).to(dtype)


def entry_of(seed: int, frames: int = 6, dtype: torch.dtype = torch.float32) -> IndexEntry:
    maps = {"pts": np.arange(frames, dtype=np.int64) * 512 + seed, "key": np.arange(frames) % 2 == 0}
    return IndexEntry(rows_of(seed, frames, dtype), times(frames), maps, meta_of(seed))


def times(frames: int) -> torch.Tensor:
    return torch.arange(frames, dtype=torch.float64) / 2


def is_right(video: IndexedVideo, entry: IndexEntry) -> bool:
    """Whether a video that was read is the entry that was written."""
    same_maps = video.frame_map.keys() == entry.frame_map.keys() and all(
        np.array_equal(video.frame_map[name], array) and video.frame_map[name].dtype == array.dtype
        for name, array in entry.frame_map.items()
    )
    return (
        same_maps
        and video.features.dtype == entry.features.dtype
        and torch.equal(video.features, entry.features)
        and torch.equal(video.seconds, entry.seconds)
        and video.meta == entry.meta
    )


def names(folder: Path) -> list[str]:
    """What lies in a folder, the memory of content hashes left out."""
    return sorted(path.name for path in folder.iterdir() if path.name != "contents.log")


def spoil_last(path: Path) -> None:
    """Flip a bit of a file's last byte."""
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
