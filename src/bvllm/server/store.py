"""Keep videos on disk by their content, within a quota; what was not used for the longest time goes first."""

import hashlib
import secrets
import shutil
import tempfile
import threading
import time
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from bvllm.server.errors import ApiError

DEFAULT_SECONDS = 24 * 3600.0


@dataclass(frozen=True)
class UploadedFile:
    """A file as `/v1/files` shows it.

    Attributes:
        id: ours, random.
        name: what the client called it; shown again, never used as a path.
        purpose: as the client said.
        size: bytes.
        content: hexadecimal SHA-256, by which it lies in the store.
        created, expires: Unix time.
    """

    id: str
    name: str
    purpose: str
    size: int
    content: str
    created: int
    expires: int

    def as_json(self) -> dict[str, object]:
        """OpenAI's file object."""
        return {
            "id": self.id,
            "object": "file",
            "bytes": self.size,
            "created_at": self.created,
            "expires_at": self.expires,
            "filename": self.name,
            "purpose": self.purpose,
            "status": "processed",
        }


class VideoStore:
    """A folder of videos named by their hash, and the files that clients know by their ids.

    Args:
        folder: to keep them in; None takes a temporary one, removed by `close`.
        most_bytes: of all videos together.
        most_files: that clients may know.
    """

    def __init__(self, folder: Path | None, most_bytes: int, most_files: int) -> None:
        base = Path(tempfile.mkdtemp(prefix="bvllm-serve-")) if folder is None else folder
        base.mkdir(parents=True, exist_ok=True)
        # Below a folder that others use, too, a new one: it is removed at the end.
        self.folder = base if folder is None else Path(tempfile.mkdtemp(prefix="videos-", dir=base))
        self._most_bytes, self._most_files = most_bytes, most_files
        self._lock = threading.Lock()
        self._sizes: OrderedDict[str, int] = OrderedDict()  # by content, the last used at the end
        self._files: dict[str, UploadedFile] = {}
        self._arriving = 0  # bytes that are on the disk and not kept yet

    def new_path(self) -> Path:
        """For a file on its way."""
        return self.folder / f"{secrets.token_hex(12)}.tmp"

    def arriving(self, most_bytes: int) -> "ArrivingVideo":
        """A video that comes piece by piece, of at most so many bytes."""
        return ArrivingVideo(self, most_bytes)

    def take(self, size: int) -> None:
        """Count bytes that arrive, of all clients together, before they are written.

        Raises:
            ApiError: there is no room for what is on its way.
        """
        with self._lock:
            if self._arriving + size > self._most_bytes:
                raise _no_room()
            self._arriving += size

    def give_back(self, size: int) -> None:
        """They are kept, or gone again."""
        with self._lock:
            self._arriving -= size

    def path_of(self, content: str) -> Path:
        """Where a video lies; it counts as used.

        Raises:
            ApiError: it is gone.
        """
        with self._lock:
            if content not in self._sizes:
                raise _no_file()
            self._sizes.move_to_end(content)
            return self.folder / content

    def keep(self, path: Path, content: str, size: int) -> None:
        """Take a file that arrived under its content's name.

        Raises:
            ApiError: there is no room for it.
        """
        with self._lock:
            if content in self._sizes:
                path.unlink()
                self._sizes.move_to_end(content)
                return
            self._make_room(size)
            path.rename(self.folder / content)
            self._sizes[content] = size

    def add(self, content: str, name: str, purpose: str, seconds: float | None) -> UploadedFile:
        """Make an id for a video that is kept.

        Raises:
            ApiError: there are too many.
        """
        now = int(time.time())
        with self._lock:
            self._forget_expired(now)
            if len(self._files) >= self._most_files:
                raise ApiError(
                    429,
                    "too_many_files",
                    f"at most {self._most_files} files are kept, got one more: delete some",
                )
            lasts = int(DEFAULT_SECONDS if seconds is None else seconds)
            file = UploadedFile(
                f"file-{secrets.token_hex(12)}",
                name,
                purpose,
                self._sizes[content],
                content,
                now,
                now + lasts,
            )
            self._files[file.id] = file
            return file

    def file(self, id: str) -> UploadedFile:
        """The file of an id.

        Raises:
            ApiError: there is none, or its video had to go.
        """
        with self._lock:
            self._forget_expired(int(time.time()))
            found = self._files.get(id)
            if found is None or found.content not in self._sizes:
                raise _no_file()
            return found

    def files(self) -> list[UploadedFile]:
        """All of them, the oldest first."""
        with self._lock:
            self._forget_expired(int(time.time()))
            return [file for file in self._files.values() if file.content in self._sizes]

    def delete(self, id: str) -> None:
        """Forget a file; its bytes go as well, unless another id names the same.

        Raises:
            ApiError: there is none.
        """
        self.file(id)
        with self._lock:
            gone = self._files.pop(id, None)
            if gone is not None and not any(f.content == gone.content for f in self._files.values()):
                self._drop(gone.content)

    def close(self) -> None:
        """Remove everything."""
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def bytes(self) -> int:
        """Of all videos together."""
        with self._lock:
            return sum(self._sizes.values())

    def _make_room(self, size: int) -> None:
        while self._sizes and sum(self._sizes.values()) + size > self._most_bytes:
            self._drop(next(iter(self._sizes)))
        if size > self._most_bytes:
            raise ApiError(413, "video_too_large", "video must fit into the server's store, got a larger one")

    def _drop(self, content: str) -> None:
        self._sizes.pop(content, None)
        with suppress(OSError):  # who reads it has it open
            (self.folder / content).unlink()

    def _forget_expired(self, now: int) -> None:
        for file in [file for file in self._files.values() if file.expires <= now]:
            del self._files[file.id]
            if not any(other.content == file.content for other in self._files.values()):
                self._drop(file.content)


class ArrivingVideo:
    """A video on its way to the disk: measured and hashed as it comes; gone if it does not arrive whole."""

    def __init__(self, store: VideoStore, most_bytes: int) -> None:
        self._store, self._most = store, most_bytes
        self._path = store.new_path()
        self._file = self._path.open("wb")
        self._hash = hashlib.sha256()
        self.size = self._taken = 0

    def __enter__(self) -> "ArrivingVideo":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self._store.give_back(self._taken)
        with suppress(OSError):  # it was kept
            self._path.unlink()

    def write(self, piece: bytes) -> None:
        """The next piece.

        Raises:
            ApiError: the video is too large, or the disk is full.
        """
        self.size += len(piece)
        if self.size > self._most:
            raise ApiError(
                413,
                "video_too_large",
                f"video must have at most {self._most} bytes, got more: send a smaller one",
            )
        self._store.take(len(piece))
        self._taken += len(piece)
        try:
            self._file.write(piece)
        except OSError as error:
            raise _no_room() from error
        self._hash.update(piece)

    def keep(self) -> str:
        """All of it is here: the hash that it is kept by.

        Raises:
            ApiError: it is empty, or there is no room.
        """
        if not self.size:
            raise ApiError(400, "empty", "video must hold bytes, got none: check the upload")
        try:
            self._file.close()
        except OSError as error:
            raise _no_room() from error
        content = self._hash.hexdigest()
        self._store.keep(self._path, content, self.size)
        return content


def _no_file() -> ApiError:
    return ApiError(404, "file_not_found", "file must be one that is kept here, got another: upload it again")


def _no_room() -> ApiError:
    return ApiError(507, "storage_full", "the disk for videos is full: ask the operator", None, 60)
