"""Keep vector libraries beside an index: find them again, build them when needed.

Nothing in here can make a search wrong: whoever gets None looks at every frame.
"""

import hashlib
import os
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bvllm.index import IndexedVideo, disk
from bvllm.index.search.library import Built, DamagedLibrary, LoadLibrary, MissingLibrary, VectorLibrary
from bvllm.index.search.library import load_library as load_default
from bvllm.index.search.library_file import (
    TEMPORARY,
    LibraryHeader,
    header_of,
    read_header,
    read_library,
    write_library,
)
from bvllm.index.search.rows import sample_of, unit_blocks

# Up to here every frame is looked at: nano's million takes 60 ms of CPU (docs/search.md).
EXACT_FRAMES = 1_000_000
# A library stays in use while the frames it lacks, and those it has too many, are at most this share of what
# is searched. The former are looked at one by one, which for a tenth takes about as long as the library does.
CHANGED_SHARE = 0.1
# Files that are kept: of so many sets of videos that are searched in turn.
KEPT = 4
SUFFIX = ".vectors"
OURS = re.compile("[0-9a-f]{64}" + re.escape(SUFFIX))
LOCK = "lock"

Tell = Callable[[str], None]


class SearchWarning(UserWarning):
    """A search goes another way than it might; what it finds holds."""


def warn(text: str) -> None:
    """What happens to notes if nobody asked to be told: a Python warning."""
    warnings.warn(text, SearchWarning, stacklevel=2)


def shelf_beside(index: Path) -> Path:
    """Where the libraries of an index folder lie: beside it, its name and `.search`."""
    index = index.resolve()
    return index.parent / (index.name + ".search")


@dataclass(frozen=True)
class OpenLibrary:
    """A library that can be asked.

    Attributes:
        header: which entries it covers, in the order of its rows.
        built: the library's own.
    """

    header: LibraryHeader
    built: Built


class LibraryShelf:
    """The vector libraries in a folder.

    Files are named by the set of entries that they cover, 64 hex digits and `.vectors`; `lock` is held by
    whoever builds. Anything else in the folder is left alone.

    Args:
        folder: made when something is written.
        above: a search of more frames than this takes a library.
        load: gives the library, or raises MissingLibrary.
        tell: told in one line about everything that is not as it should be, and that a library is built.

    Raises:
        ValueError: `above` is below 0.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        above: int = EXACT_FRAMES,
        load: LoadLibrary = load_default,
        tell: Tell = warn,
    ) -> None:
        if above < 0:
            raise ValueError(f"above must be at least 0, got {above}: say from how many frames on")
        self.folder = Path(folder)
        self.above = above
        self._load = load
        self._tell = tell
        self._last: OpenLibrary | None = None

    def library_for(self, videos: Sequence[IndexedVideo]) -> OpenLibrary | None:
        """A library that covers most of these videos, built if there is none; None to look at every frame.

        Args:
            videos: of the same number of channels.
        """
        count = sum(map(len, videos))
        if count <= self.above:
            return None
        try:
            library = self._load()
        except MissingLibrary as missing:
            self._tell(f"each of {count} frames is looked at, which takes a while: {missing}")
            return None
        entries = {video.key.name: video for video in sorted(videos, key=lambda video: video.key.name)}
        try:
            return self._find(library, entries) or self._build(library, entries)
        except OSError as error:
            self._tell(f"the vector library cannot be kept ({_said(error)}): each frame is looked at")
        except (RuntimeError, MemoryError) as error:  # the library's own
            self._tell(f"the vector library cannot be built ({_said(error)}): each frame is looked at")
        return None

    def _find(self, library: VectorLibrary, entries: Mapping[str, IndexedVideo]) -> OpenLibrary | None:
        """The sound library that differs least from these entries, if one is near enough."""
        near = []
        for path in _files(self.folder):
            with self._discarding(path):
                header = read_header(path)
                if header.library != library.name:
                    raise DamagedLibrary(f"it was written by {header.library[:80]!r}")
                changed = _changed(header, entries)
                if changed <= CHANGED_SHARE * sum(map(len, entries.values())):
                    near.append((changed, path, header))
        for _, path, header in sorted(near, key=lambda found: found[:2]):
            if self._last is None or self._last.header != header:
                self._last = None  # room for the other
                with self._discarding(path):
                    header, payload = read_library(path)
                    self._last = OpenLibrary(header, library.read(payload, header.rows, header.channels))
            if self._last is not None:
                with suppress(OSError):  # a folder that cannot be written to is still read
                    os.utime(path)  # the time of last use
                return self._last
        return None

    def _build(self, library: VectorLibrary, entries: Mapping[str, IndexedVideo]) -> OpenLibrary | None:
        """A new library over all of the entries, kept in the folder; None where another builds one."""
        with _holding(self.folder) as ours:
            if not ours:
                self._tell("another process builds a vector library just now: each frame is looked at")
                return None
            found = self._find(library, entries)  # another may have finished since we looked
            if found is not None:
                return found
            frames = {name: len(video) for name, video in entries.items()}
            self._tell(f"building a vector library over {sum(frames.values())} frames, once")
            features = [video.features for video in entries.values()]
            built = library.build(sample_of(features), unit_blocks(features))
            payload = built.to_bytes()
            header = header_of(library.name, features[0].shape[1], frames, payload)
            try:
                write_library(self.folder / (_digest(frames) + SUFFIX), header, payload)
                _tidy(self.folder)
            except OSError as error:  # the search at hand has it all the same
                self._tell(f"the vector library cannot be kept: {_said(error)}")
        self._last = OpenLibrary(header, built)
        return self._last

    @contextmanager
    def _discarding(self, path: Path) -> Iterator[None]:
        """What is damaged is told of and removed, what cannot be read told of; both count as not there."""
        try:
            yield
        except FileNotFoundError:
            return  # another removed it
        except DamagedLibrary as damage:
            self._tell(
                f"vector library {path.name[:12]} is of no use: {damage}; it is made again when needed"
            )
            with suppress(OSError):
                disk.remove(path)
        except OSError as error:
            self._tell(f"vector library {path.name[:12]} cannot be read: {_said(error)}")


def _said(error: Exception) -> str:
    """What went wrong, in one line."""
    text = error.strerror if isinstance(error, OSError) else None
    return " ".join((text or str(error)).split()) or type(error).__name__


def _changed(header: LibraryHeader, entries: Mapping[str, IndexedVideo]) -> int:
    """Frames that a library lacks, and those that it has and nobody asks for."""
    common = sum(n for name, n in header.frames.items() if name in entries and len(entries[name]) == n)
    return sum(map(len, entries.values())) + header.rows - 2 * common


def _digest(frames: Mapping[str, int]) -> str:
    """The name of a set of entries."""
    return hashlib.sha256("\n".join(f"{name} {frames[name]}" for name in sorted(frames)).encode()).hexdigest()


def _files(folder: Path) -> list[Path]:
    """The library files in a folder, in order of their names."""
    with suppress(FileNotFoundError, NotADirectoryError):
        return sorted(path for path in folder.iterdir() if OURS.fullmatch(path.name))
    return []


@contextmanager
def _holding(folder: Path) -> Iterator[bool]:
    """Whether we are the one that builds, until the end of the block; a killed one holds nothing.

    Raises:
        OSError: the folder cannot be written to.
    """
    disk.make_folder(folder)
    descriptor = disk.lock(folder / LOCK)
    try:
        yield descriptor is not None
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _tidy(folder: Path) -> None:
    """Remove what killed writers left, and all libraries but those used last; for the one that builds."""
    for path in folder.iterdir():
        if path.name.endswith(TEMPORARY) and OURS.fullmatch(path.name.removesuffix(TEMPORARY)):
            disk.remove(path)
    for path in sorted(_files(folder), key=lambda path: path.stat().st_mtime_ns)[:-KEPT]:
        disk.remove(path)
