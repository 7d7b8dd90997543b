"""Store frames on disk between the first pass and the second.

Of most frames only a feature is ever needed again, but which few are needed is known only when the question
is asked. Their pixels wait in a file that has no name: memory stays flat, and nothing is left
behind, however the process ends.
"""

import threading
import weakref
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from bvllm.common.files import temporary_file, write_all


class StoredFrames(Protocol):
    """Pixels of the sampled frames of one video, wherever they are."""

    def get(self, indices: Sequence[int]) -> Tensor:
        """(F, 3, height, width) uint8, in the order asked for."""

    def close(self) -> None:
        """Let go of what is held."""


class FrameCache:
    """Append-only store of uint8 frames of one size.

    Args:
        size: (height, width) of every frame.

    Raises:
        ValueError: a frame has another size or type, or an index is not there.
        OSError: the disk is full.

    Example:
        >>> with FrameCache((2, 2)) as store:
        ...     store.append(torch.arange(24, dtype=torch.uint8).view(2, 3, 2, 2))
        ...     len(store), store.get([1]).flatten().tolist()[:4]
        (2, [12, 13, 14, 15])
    """

    def __init__(self, size: tuple[int, int]) -> None:
        self.shape = (3, *size)
        self._bytes = 3 * size[0] * size[1]
        self._count = 0
        self._file = temporary_file("bvllm-frames-")
        self._lock = threading.Lock()
        weakref.finalize(self, self._file.close)

    def __len__(self) -> int:
        return self._count

    def __enter__(self) -> "FrameCache":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def append(self, frames: Tensor) -> None:
        """Add (t, 3, height, width) uint8 frames at the end."""
        if frames.dtype != torch.uint8 or tuple(frames.shape[1:]) != self.shape:
            raise ValueError(
                f"frames must be uint8 of shape (t, {', '.join(map(str, self.shape))}), "
                f"got {frames.dtype} of shape {tuple(frames.shape)}: resize them first"
            )
        data = frames.contiguous().cpu().numpy().reshape(-1).data.cast("B")
        with self._lock:
            self._file.seek(self._count * self._bytes)
            write_all(self._file, data)
            self._count += len(frames)

    def get(self, indices: Sequence[int]) -> Tensor:
        """Read frames back, in the order asked for: (F, 3, height, width) uint8."""
        wrong = [index for index in indices if not 0 <= index < self._count]
        if wrong:
            raise ValueError(
                f"index must lie in 0..{self._count - 1}, got {wrong[0]}: ask for frames that are there"
            )
        found = np.empty((len(indices), *self.shape), dtype=np.uint8)
        with self._lock:
            for place, index in enumerate(indices):
                self._file.seek(index * self._bytes)
                self._read_into(memoryview(found[place]).cast("B"))
        return torch.from_numpy(found)

    def close(self) -> None:
        """Give the disk space back; also happens when the store is garbage-collected."""
        self._file.close()

    def _read_into(self, target: memoryview) -> None:
        while target:
            read = self._file.readinto(target)
            if not read:
                raise OSError("the temporary file of frames ended early: the disk may be full")
            target = target[read:]
