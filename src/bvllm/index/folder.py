"""Open an index folder: one file per video, for any number of readers and writers at once."""

import math
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from bvllm.index import disk, upkeep
from bvllm.index.commit import JOURNAL, commit, entry_blocks
from bvllm.index.entry import (
    SUFFIX,
    DamageFound,
    EntrySummary,
    IndexedVideo,
    IndexEntry,
    check_finite,
    check_rows,
    feature_bytes,
    feature_dtype,
)
from bvllm.index.errors import NO_FILES, FolderFault, IndexFailure, Tell, failing_clearly, warn
from bvllm.index.hashes import FileHash, file_hash_of
from bvllm.index.key import IndexKey
from bvllm.index.mapped import open_entry, summarise
from bvllm.index.partial import PartialEntry
from bvllm.index.upkeep import files_of
from bvllm.index.writer_lock import wait_for_lock
from bvllm.video import Limits

GIGABYTE = 1e9
DEFAULT_MAX_BYTES = 10_000_000_000


class IndexFolder:
    """Indexed videos on disk.

    Files are named by their key, 64 hex digits: `.safetensors` is an entry, `.partial` the journal of a video
    that is being indexed (and the lock of its one writer), `.tmp` an entry on its way. `contents.log`
    remembers content hashes. Anything else in the folder is left alone.

    Args:
        path: the folder; made when something is written.
        max_bytes: above it, what was not used for the longest time is removed after each write; None takes
            `default_max_bytes()`.
        tell: called about entries that turned out damaged, and are removed to be made again, about those that
            were removed for their size, and about another process that is waited for.

    Raises:
        ValueError: max_bytes is below 0.

    Example:
        >>> IndexFolder("nowhere").find(IndexKey("content", "sampling", "tower")) is None
        True
    """

    def __init__(self, path: str | Path, *, max_bytes: int | None = None, tell: Tell = warn) -> None:
        max_bytes = default_max_bytes() if max_bytes is None else max_bytes
        if max_bytes < 0:
            raise ValueError(f"max_bytes must be at least 0, got {max_bytes}: allow the index some room")
        self.path = Path(path)
        self.max_bytes = max_bytes
        self._tell = tell

    def make(self) -> None:
        """Make the folder, if it is not there.

        Raises:
            IndexFailure: that cannot be done.
        """
        with failing_clearly():
            disk.make_folder(self.path)

    def content(self, video: str | Path, limits: Limits = Limits()) -> FileHash:  # noqa: B008 - frozen
        """The content hash of a file, remembered in this folder; errors as for `file_hash_of`."""
        return file_hash_of(video, self.path, limits)

    def find(self, key: IndexKey) -> IndexedVideo | None:
        """The entry of a key, every byte of it verified, or None.

        A damaged entry is reported, removed, and counts as none.
        """
        video = self._open(self.path / (key.name + SUFFIX))
        if video is not None:
            with suppress(OSError):  # an index that cannot be written to is still read
                os.utime(video.path)  # the time of last use, for the size limit
                upkeep.drop_needless(self.path / (key.name + JOURNAL))
        return video

    def videos(self, tower: str | None = None) -> Iterator[IndexedVideo]:
        """All sound entries, verified one after another; with `tower`, those that it encoded."""
        for path in files_of(self.path, SUFFIX):
            if tower is None or _tower(path) == tower:
                video = self._open(path)
                if video is not None:
                    yield video

    def entries(self) -> list[EntrySummary]:
        """What the headers say, the last used first; bytes are not verified, damaged headers left out.

        Raises:
            IndexFailure: the folder cannot be read.
        """
        found = []
        with failing_clearly():
            paths = files_of(self.path, SUFFIX)
        for path in paths:
            with suppress(OSError, DamageFound):
                found.append(summarise(path))
        return sorted(found, key=lambda entry: -entry.used_at)

    def write(self, key: IndexKey, entry: IndexEntry) -> IndexedVideo:
        """Write an entry in one step; waits for another writer of the same key, as `partial` does.

        Returns:
            The entry, read back from the disk.

        Raises:
            ValueError: shapes or types do not fit, or a feature is not finite
            IndexFailure: the disk does not take it: what was there before stays.
        """
        check_rows(entry.features, entry.seconds)
        check_finite(entry.features)
        word, seconds = feature_dtype(entry.features), entry.seconds.cpu().double().numpy()
        pieces = [feature_bytes(entry.features)]
        blocks = entry_blocks(word, entry.features.shape[1], seconds, pieces, entry.frame_map)
        with self._writing(key), failing_clearly():
            path = commit(self.path, key, entry.meta, blocks)
            disk.remove(self.path / (key.name + JOURNAL))
            return open_entry(path)

    @contextmanager
    def partial(self, key: IndexKey) -> Iterator[PartialEntry]:
        """The journal of a video, to begin or to go on; waits for another writer of the same key.

        Call `find` once the lock is yours: the other process may have finished.

        Raises:
            IndexFailure: the folder cannot be written to
            HeldElsewhere: the other writer does not stir for half a minute.
        """
        with self._writing(key) as descriptor:
            with failing_clearly():
                partial = PartialEntry(self.path, key, descriptor)
            try:
                yield partial
            finally:
                partial.close()

    def check(self) -> list[FolderFault]:
        """Everything in the folder that is not a sound entry; every byte is read, nothing is changed."""
        with failing_clearly():
            return upkeep.check(self.path)

    def prune(self) -> list[FolderFault]:
        """Remove what is damaged, unfinished or above the limit; what is being written stays.

        Returns:
            What was removed.

        Raises:
            IndexFailure: the folder cannot be written to.
        """
        with failing_clearly():
            return upkeep.prune(self.path, self.max_bytes)

    @contextmanager
    def _writing(self, key: IndexKey) -> Iterator[int]:
        """The key's journal, held; afterwards the folder is within its limit."""
        with ExitStack() as stack:
            self.make()
            with failing_clearly():
                upkeep.sweep(self.path)
                lock = wait_for_lock(self.path, key.name, lambda: self._tell(_busy(key)))
                descriptor = stack.enter_context(lock)
            yield descriptor
        with suppress(OSError):  # failing to make room is no reason to stop
            for finding in upkeep.make_room(self.path, self.max_bytes, spare=key.name):
                self._tell(finding)

    def _open(self, path: Path) -> IndexedVideo | None:
        try:
            return open_entry(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except DamageFound as damage:
            finding = upkeep.finding_of(upkeep.kind_of(damage), path, str(damage))
            self._tell(finding)
            if finding.kind == "damaged":
                with suppress(OSError):
                    upkeep.remove(self.path, finding)
        except OSError as error:
            if error.errno in NO_FILES:  # not the entry's fault, and the next one would fail as well
                raise IndexFailure(
                    "index must open a file for each video, got the limit on open files: raise it (ulimit -n)"
                ) from error
            self._tell(upkeep.finding_of("unreadable", path, error.strerror or str(error)))
        return None


def default_folder() -> Path:
    """`$BVLLM_INDEX`, else `bvllm/index` in the user's cache folder (`$XDG_CACHE_HOME`, or `~/.cache`)."""
    chosen = os.environ.get("BVLLM_INDEX")
    if chosen:
        return Path(chosen).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME", "")
    # The specification of XDG has relative paths ignored.
    base = Path(cache) if os.path.isabs(cache) else Path.home() / ".cache"
    return base / "bvllm" / "index"


def default_max_bytes() -> int:
    """`$BVLLM_INDEX_MAX_GB`, else 10 GB: the same for every command, since each may remove what is above it.

    Raises:
        ValueError: the variable holds no size.
    """
    said = os.environ.get("BVLLM_INDEX_MAX_GB")
    if not said:
        return DEFAULT_MAX_BYTES
    try:
        size = float(said)
    except ValueError:
        size = math.nan
    if not 0 <= size < math.inf:
        raise ValueError(
            f"BVLLM_INDEX_MAX_GB must be a number of gigabytes, got {said!r}: set it to one, or unset it"
        )
    return round(size * GIGABYTE)


def _busy(key: IndexKey) -> FolderFault:
    return FolderFault(
        "busy", key.name + JOURNAL, 0, "another process is indexing this video: waiting for it"
    )


def _tower(path: Path) -> str | None:
    """Which tower made an entry; None where its header does not say."""
    with suppress(OSError, DamageFound):
        return summarise(path).key.tower
    return None
