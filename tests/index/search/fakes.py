"""A vector library that needs none, and entries of an index without a video."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bvllm.index import IndexedVideo, IndexKey
from bvllm.index.search.library import DamagedLibrary, MissingLibrary

CHANNELS = 16


class FakeLibrary:
    """Rows in 8 bits a channel, all of them looked at: as rough as the real one, and as honest."""

    name = "fake"

    def __init__(self) -> None:
        self.builds = 0

    def build(self, sample, blocks) -> "FakeRows":
        assert sample.dtype == np.float32
        self.builds += 1
        return FakeRows(np.concatenate([np.round(block * 127).astype(np.int8) for block in blocks]))

    def read(self, data, rows, channels) -> "FakeRows":
        if len(data) != rows * channels:
            raise DamagedLibrary("it is of another size")
        return FakeRows(data.view(np.int8).reshape(rows, channels))


class FakeRows:
    def __init__(self, codes) -> None:
        self.codes = codes
        self.asked: list[int] = []

    def nearest(self, query, count):
        self.asked.append(count)
        return np.argsort(-(self.codes.astype(np.float32) @ query), kind="stable")[:count]

    def to_bytes(self):
        return self.codes.reshape(-1).view(np.uint8)


def missing() -> FakeLibrary:
    raise MissingLibrary("`pip install it` brings a faster way")


def entry(name: str, features: Tensor) -> IndexedVideo:
    """An entry with a frame a second."""
    seconds = torch.arange(len(features), dtype=torch.float64)
    return IndexedVideo(IndexKey(name, "s", "t"), features, seconds, {}, None, Path(name), 0)


def entries(lengths: Sequence[int], seed: int = 0, channels: int = CHANNELS) -> list[IndexedVideo]:
    """Entries of scenes of ten frames that are alike."""
    source, found = torch.Generator().manual_seed(seed), []
    for number, length in enumerate(lengths):
        scenes = torch.randn(-(-length // 10), channels, generator=source).repeat_interleave(10, 0)[:length]
        noise = 0.3 * torch.randn(length, channels, generator=source)
        found.append(entry(f"{seed}.{number}", (scenes + noise) * (1 + number)))
    return found


def query(seed: int = 0, channels: int = CHANNELS) -> Tensor:
    return torch.randn(channels, generator=torch.Generator().manual_seed(1000 + seed))
