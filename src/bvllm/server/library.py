"""Know the videos that can be asked about by an id: uploaded ones, and those of the allowed folders."""

import hashlib
import os
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bvllm.common.text import local_path
from bvllm.index import EntrySummary, IndexFailure, IndexFolder
from bvllm.server.errors import ApiError
from bvllm.server.store import VideoStore
from bvllm.video.videos_in import videos_in

MOST_LISTED = 1000


@dataclass(frozen=True)
class FoundVideo:
    """A file that is asked about.

    Attributes:
        id: by which clients name it; empty where it has none.
        path: on this disk.
        root: folder that it must really lie in, links resolved; None where the file is ours.
        name: what it is called in front of the client.
    """

    id: str
    path: Path
    root: Path | None
    name: str


@dataclass(frozen=True)
class ListedVideo:
    """A video as `/v1/videos` shows it; `seconds` is None where it is not indexed yet."""

    video: FoundVideo
    seconds: float | None

    def as_json(self) -> dict[str, object]:
        """One line of the list."""
        with suppress(OSError):
            return {
                "id": self.video.id,
                "object": "video",
                "name": self.video.name,
                "bytes": self.video.path.stat().st_size,
                "seconds": self.seconds,
                "indexed": self.seconds is not None,
            }
        return {"id": self.video.id, "object": "video", "name": self.video.name, "indexed": False}


class Library:
    """Finds videos by id or by an allowed path.

    Args:
        store: of what was uploaded, sent along or fetched.
        allow_paths: folders whose videos may be named.
        index: says which videos were indexed.
    """

    def __init__(self, store: VideoStore, allow_paths: Sequence[Path], index: IndexFolder) -> None:
        self.store, self._roots, self._index = store, tuple(allow_paths), index
        self._known: dict[str, FoundVideo] = {}
        self._lock = threading.Lock()

    def by_id(self, id: str) -> FoundVideo:
        """The video of an id.

        Raises:
            ApiError: there is none.
        """
        with self._lock:
            known = self._known.get(id)
        if known is None and self._roots and id not in {file.id for file in self.store.files()}:
            self.in_folders()
            with self._lock:
                known = self._known.get(id)
        if known is not None:
            return known
        file = self.store.file(id)
        return FoundVideo(file.id, self.store.path_of(file.content), None, file.name)

    def by_path(self, where: str) -> FoundVideo:
        """A file inside an allowed folder; that it lies there is checked again on what is opened.

        Raises:
            ApiError: it does not, or no folder is allowed.
        """
        if not self._roots:
            raise ApiError(
                403,
                "path_not_allowed",
                "files of the server must not be named here, got a path: upload the video to /v1/files",
                "messages",
            )
        path = Path(local_path(where))
        for root in self._roots if "\0" not in str(path) else ():
            real, real_root = os.path.realpath(root / path), os.path.realpath(root)
            if os.path.commonpath([real, real_root]) == real_root and os.path.isfile(real):
                return _in_folder(Path(real), Path(real_root))
        raise ApiError(
            403,
            "outside_root",
            "video must be a file in a folder that the server allows, got another: see /v1/videos",
            "messages",
        )

    def in_folders(self) -> list[FoundVideo]:
        """Videos of the allowed folders, by name, at most `MOST_LISTED`."""
        found = []
        for root in self._roots:
            real_root = os.path.realpath(root)
            for path in videos_in(real_root):
                real = os.path.realpath(path)
                if os.path.commonpath([real, real_root]) == real_root:
                    found.append(_in_folder(Path(real), Path(real_root)))
        found = list({video.id: video for video in found}.values())[:MOST_LISTED]
        with self._lock:
            self._known = {video.id: video for video in found}
        return found

    def listed(self) -> list[ListedVideo]:
        """Videos of the allowed folders, with what the index knows of them."""
        summaries = self._summaries()
        return [ListedVideo(video, _seconds(summaries.get(str(video.path)))) for video in self.in_folders()]

    def searchable(self) -> list[FoundVideo]:
        """Videos, uploaded or in the folders, that were indexed."""
        uploaded = [
            FoundVideo(file.id, self.store.folder / file.content, None, file.name)
            for file in self.store.files()
        ]
        once = {video.path: video for video in (*uploaded, *self.in_folders())}
        indexed = self._summaries().keys()
        return [video for path, video in once.items() if str(path) in indexed]

    def _summaries(self) -> dict[str, EntrySummary]:
        """Entries of whole videos by the path that they were indexed under."""
        try:
            entries = self._index.entries()
        except IndexFailure:  # an index that was never written to
            return {}
        return {
            os.path.realpath(entry.meta.source): entry
            for entry in reversed(entries)
            if entry.key.part == (0.0, None)
        }


def _in_folder(path: Path, root: Path) -> FoundVideo:
    name = os.path.relpath(path, root)
    digest = hashlib.sha256(os.fsencode(root) + b"\0" + os.fsencode(name)).hexdigest()
    return FoundVideo(f"file-{digest[:24]}", path, root, os.fsencode(name).decode(errors="replace"))


def _seconds(summary: EntrySummary | None) -> float | None:
    return None if summary is None else summary.meta.duration
