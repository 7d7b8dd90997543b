"""Resume a video that was partly indexed: what is safe so far, and how to go on."""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from torch import Tensor

from bvllm.index import disk
from bvllm.index.append_log import beginning, pack, read_records
from bvllm.index.commit import JOURNAL, commit, entry_blocks
from bvllm.index.entry import FrameMapArrays, IndexedVideo, IndexMeta, check_finite, check_rows, feature_dtype
from bvllm.index.errors import IndexFailure, failing_clearly
from bvllm.index.key import IndexKey
from bvllm.index.mapped import open_entry

# Work that a power cut may cost. A killed process loses nothing: its bytes are the system's already.
SYNC_SECONDS = 5.0


class PartialEntry:
    """The journal of one key, held by one writer at a time; `IndexFolder.partial` makes it.

    Args:
        folder: where the index lies.
        key: what is being indexed.
        descriptor: the journal, open and locked.
    """

    def __init__(self, folder: Path, key: IndexKey, descriptor: int) -> None:
        self.key = key
        self.finished = False
        self._folder = folder
        self._descriptor = descriptor
        self._ends, self._frames, self._digests = [0], [0], [beginning(key.name)]
        self._type: tuple[str, int] | None = None
        for record in read_records(descriptor, key.name):
            self._type = record.dtype, record.channels
            self._keep(record.end, record.frames, record.digest)
        disk.cut(descriptor, self._ends[-1])
        self._synced: float | None = None

    @property
    def count(self) -> int:
        """Frames that are safely there, from the beginning of the video."""
        return self._frames[-1]

    def append(self, features: Tensor, seconds: Tensor) -> None:
        """Add frames that follow those that are there.

        Args:
            features: (t, C) float32, float16 or bfloat16, of the same type and width every time.
            seconds: (t,) float64.

        Raises:
            ValueError: they do not fit, or a feature is not finite
            IndexFailure: the disk does not take them: what was there before stays.
        """
        check_rows(features, seconds)
        check_finite(features)
        kind = feature_dtype(features), features.shape[1]
        if self._type not in (None, kind):
            raise ValueError(
                f"features must be of the type and width before, {self._type}, got {kind}: use one model"
            )
        data, digest = pack(features, seconds, self._digests[-1])
        with failing_clearly():
            try:
                disk.write(self._descriptor, data, self._ends[-1])
            except OSError:
                disk.cut(self._descriptor, self._ends[-1])
                raise
            self._type = kind
            self._keep(self._ends[-1] + len(data), len(features), digest)
            if self._synced is None or time.monotonic() - self._synced > SYNC_SECONDS:
                self._sync()

    def rewind(self, count: int) -> None:
        """Forget the last frames, in whole records, until at most `count` are left."""
        while self.count > count:
            for column in (self._ends, self._frames, self._digests):
                column.pop()
        with failing_clearly():
            disk.cut(self._descriptor, self._ends[-1])

    def finish(self, frame_map: FrameMapArrays, meta: IndexMeta) -> IndexedVideo:
        """Make the entry of all frames that are there, and end the journal.

        Returns:
            The entry, read back from the disk.

        Raises:
            ValueError: there are no frames, or the frame map holds no plain numbers
            IndexFailure: the disk does not take it: the frames stay, and finishing can be tried again.
        """
        if self._type is None or not self.count:
            raise ValueError(
                f"index entry must hold at least 1 frame, got {self.count}: append frames, then finish"
            )
        dtype, channels = self._type
        seconds = np.frombuffer(b"".join(self._parts(times=True)), "<f8")
        blocks = entry_blocks(dtype, channels, seconds, self._parts(times=False), frame_map)
        with failing_clearly():
            path = commit(self._folder, self.key, meta, blocks)
            self.finished = True
            disk.remove(self._folder / (self.key.name + JOURNAL))
            return open_entry(path)

    def close(self) -> None:
        """Sync the rows written so far, so that another process can go on from them."""
        if self.count and not self.finished:
            with failing_clearly():
                self._sync()

    def _keep(self, end: int, frames: int, digest: bytes) -> None:
        self._digests.append(digest)
        self._ends.append(end)
        self._frames.append(self.count + frames)

    def _sync(self) -> None:
        disk.sync(self._descriptor)
        if self._synced is None:
            disk.sync_folder(self._folder)
        self._synced = time.monotonic()

    def _parts(self, *, times: bool) -> Iterator[bytes]:
        """The seconds, or the features, of every record, read back and compared again."""
        at = 0
        for record in read_records(self._descriptor, self.key.name, self._ends[-1]):
            yield record.seconds if times else record.features
            at = record.end
        if at != self._ends[-1]:
            disk.cut(self._descriptor, at)
            raise IndexFailure(
                "index folder must keep what was written, got other bytes: check the disk, then index again"
            )
