"""Store the pixels of a changing set of frames on disk, in places that are used again."""

import threading
import weakref
from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from bvllm.common.files import temporary_file, write_all


class FrameSlots:
    """A file of places of one frame each. It has no name, so nothing is left behind, however a process ends.

    A place is used again once no snapshot holds it: the file grows only with what is held at the same time.

    Args:
        size: (height, width) of every frame.

    Raises:
        OSError: the disk is full.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        self.shape = (3, *size)
        self._bytes = 3 * size[0] * size[1]
        self._holders: Counter[int] = Counter()
        self._free: list[int] = []
        self._places = 0
        self._file = temporary_file("bvllm-stream-")
        # A snapshot that the garbage collector finds lets go at any time, in here, too.
        self._lock = threading.RLock()
        weakref.finalize(self, self._file.close)

    def __len__(self) -> int:
        return self._places

    def put(self, frame: Tensor) -> int:
        """Write (3, height, width) uint8 and hold it: its place."""
        data = frame.contiguous().cpu().numpy().reshape(-1).data.cast("B")
        if frame.dtype != torch.uint8 or tuple(frame.shape) != self.shape:
            raise ValueError(
                f"frame must be uint8 of shape {self.shape}, got {frame.dtype} of shape "
                f"{tuple(frame.shape)}: resize it first"
            )
        with self._lock:
            place = self._free.pop() if self._free else self._places
            self._places = max(self._places, place + 1)
            self._holders[place] = 1
            self._file.seek(place * self._bytes)
            write_all(self._file, data)
        return place

    def hold(self, places: Sequence[int]) -> None:
        """One more holder for each."""
        with self._lock:
            self._holders.update(places)

    def let_go(self, places: Sequence[int]) -> None:
        """One holder less for each; who has none may be written over."""
        with self._lock:
            for place in places:
                self._holders[place] -= 1
                if not self._holders[place]:
                    del self._holders[place]
                    self._free.append(place)

    def get(self, places: Sequence[int]) -> Tensor:
        """(F, 3, height, width) uint8, in the order asked for."""
        found = np.empty((len(places), *self.shape), dtype=np.uint8)
        with self._lock:
            for row, place in enumerate(places):
                self._file.seek(place * self._bytes)
                target = memoryview(found[row]).cast("B")
                while target:
                    read = self._file.readinto(target)
                    if not read:
                        raise OSError("the temporary file of frames ended early: the disk may be full")
                    target = target[read:]
        return torch.from_numpy(found)

    def close(self) -> None:
        """Give the disk space back."""
        self._file.close()


class HeldFrames:
    """The frames of one moment: they stay as they are until closed, whatever the stream does.

    Args:
        slots: where they lie.
        places: of the frames, in order.
    """

    def __init__(self, slots: FrameSlots, places: Sequence[int]) -> None:
        self._slots, self._places = slots, tuple(places)
        slots.hold(self._places)
        self.close = weakref.finalize(self, slots.let_go, self._places)

    def __len__(self) -> int:
        return len(self._places)

    def get(self, indices: Sequence[int]) -> Tensor:
        """(F, 3, height, width) uint8, in the order asked for."""
        wrong = [index for index in indices if not 0 <= index < len(self._places)]
        if wrong:
            raise ValueError(
                f"index must lie in 0..{len(self._places) - 1}, got {wrong[0]}: ask for frames that are there"
            )
        return self._slots.get([self._places[index] for index in indices])
