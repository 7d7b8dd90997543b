"""Adapt a model to the index: what makes features of frames, with a fingerprint."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from bvllm.inference.model import VideoModel


class FrameEncoder(Protocol):
    """A vision tower with a fingerprint that differs from every other tower's."""

    @property
    def frame_size(self) -> tuple[int, int]:
        """(height, width) that it takes."""

    @property
    def fingerprint(self) -> str:
        """The same only where the same frames give the same features."""

    @property
    def device(self) -> torch.device:
        """Device of the tower; on a CPU, chunks are encoded in parallel."""

    @property
    def chunk(self) -> int:
        """How many frames it takes at a time."""

    def frame_features(self, frames: Tensor) -> Tensor:
        """At most `chunk` frames, (t, 3, height, width) uint8 -> (t, C) on the CPU."""


@dataclass(frozen=True)
class TowerEncoder:
    """The tower of a model; make it once per model, with `of`, since the fingerprint reads all weights."""

    loaded: VideoModel
    fingerprint: str

    @classmethod
    def of(cls, loaded: VideoModel) -> "TowerEncoder":
        """The encoder of a model as it is now; a model that is trained further needs another."""
        return cls(loaded, loaded.fingerprint)

    @property
    def frame_size(self) -> tuple[int, int]:
        """(height, width) that the tower takes."""
        return self.loaded.frame_size

    @property
    def device(self) -> torch.device:
        """Where the tower runs."""
        return self.loaded.device

    @property
    def chunk(self) -> int:
        """How many frames the tower takes at a time."""
        return self.loaded.chunk

    def frame_features(self, frames: Tensor) -> Tensor:
        """As `VideoModel.frame_features`, in the type that holds the same numbers."""
        found = self.loaded.frame_features(frames)
        return found.to(self.loaded.feature_dtype(found.shape[1]))
