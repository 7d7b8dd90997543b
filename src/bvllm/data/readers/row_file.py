"""Read a file of rows as a sequence: locate rows in one pass, parse each when it is asked for.

Three numbers a row are kept, whatever the rows hold. A row that is no JSON ends where its brackets end, so
the rows after it are found all the same.
"""

import os
import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from bvllm.common.text import local_path
from bvllm.data.compressed import PlainFile
from bvllm.data.dialogue import Dialogue, Media, MediaKind
from bvllm.data.faults import InvalidRow
from bvllm.data.readers.parse import parse_row

UNNAMED_SUFFIX = ".mp4"  # Valley names its videos without one
BLOCK = 1 << 20  # bytes read at a time
MOST_ROW_BYTES = 64 << 20
UTF8_MARK = b"\xef\xbb\xbf"
BETWEEN = b" \t\r\n,"  # what may stand between rows
STRING = rb'"(?:[^"\\]++|\\.)*+"'
STRETCH = rb'(?:[^{}\[\]"]++|' + STRING + rb")"
# An object without others inside, a stretch without brackets, a bracket, or a quote that nothing closes.
TOKEN = re.compile(rb"\{" + STRETCH + rb"*+\}|" + STRETCH + rb'++|[{}\[\]"]', re.DOTALL)
OPENED_BY = {ord("}"): ord("{"), ord("]"): ord("[")}


class RowFile:
    """Rows of a JSON array or a JSONL file, in the chat schema or LLaVA's form, also mixed.

    Args:
        path: the file; one packed by gzip, bzip2 or xz is unpacked into a temporary file.
        media_root: the folder that media are named from and must lie in; the file's own where None.

    Raises:
        ValueError: the file holds no rows, or is packed in another way
        InvalidRow: from `rows[k]`, with file, line and row.

    Example:
        >>> import json, tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> turns = [{"from": "human", "value": "who?"}, {"from": "gpt", "value": "a cat"}]
        >>> _ = (folder / "rows.json").write_text(json.dumps([{"id": "a", "conversations": turns}]))
        >>> rows = RowFile(folder / "rows.json")
        >>> len(rows), rows[0].turns[1].text
        (1, 'a cat')
    """

    def __init__(self, path: str | Path, media_root: str | Path | None = None) -> None:
        self.path = Path(path)
        self.media_root = Path(media_root) if media_root is not None else self.path.parent
        if not self.media_root.is_dir():
            raise ValueError(
                f"media_root must be a folder, got {str(self.media_root)!r}: name an existing one"
            )
        self._plain = PlainFile(self.path)
        try:
            self.offsets = RowOffsets.of(self._plain.path)
        except ValueError as error:
            raise ValueError(str(error).replace(str(self._plain.path), str(self.path))) from None

    def __len__(self) -> int:
        return len(self.offsets)

    def __getitem__(self, row: int) -> Dialogue:
        if not 0 <= row < len(self):
            raise IndexError(f"row must be in 0..{len(self) - 1}, got {row}: see len()")
        where = self.where(row)
        return parse_row(
            self.offsets.read(self._plain.path, row),
            where,
            lambda kind, name, folder: find_media(kind, name, folder, self.media_root, where),
        )

    def where(self, row: int) -> str:
        """File, line and row, as messages name it."""
        return f"{self.path}:{int(self.offsets.spans[row, 2])} (row {row})"


def find_media(kind: MediaKind, name: str, folder: str | None, root: Path, where: str) -> Media:
    """The file that a row names, inside the media folder; nothing is opened.

    Args:
        name: as the row gives it, from `root`.
        folder: a subfolder that the row names apart, as Valley does.
        root: the media folder.

    Raises:
        InvalidRow: of kind outside_root or missing.
    """
    name = local_path(name)
    names = [name] if os.path.splitext(name)[1] else [name, name + UNNAMED_SUFFIX]
    tried = [os.path.join(root, n) for n in names]
    tried += [os.path.join(root, folder, n) for n in names if folder]
    real_root = os.path.realpath(root)
    for path in tried:
        if os.path.isfile(path):
            if os.path.commonpath([os.path.realpath(path), real_root]) != real_root:
                raise InvalidRow(
                    where, "outside_root", f"{kind} must lie inside the media folder, got {name!r}"
                )
            return Media(kind, Path(path), root)
    if os.path.commonpath([os.path.abspath(tried[0]), os.path.abspath(root)]) != os.path.abspath(root):
        raise InvalidRow(where, "outside_root", f"{kind} must lie inside the media folder, got {name!r}")
    raise InvalidRow(where, "missing", f"{kind} must be an existing file, got {name!r}")


@dataclass(frozen=True, eq=False)
class RowOffsets:
    """Where rows lie.

    Attributes:
        spans: (N, 3) int64: first byte, byte after the last, line (from 1).
        size, changed_ns: of the file when it was read.

    Errors of `of`:
        ValueError where the file holds no row, or one of more than 64 MB; OSError where it cannot be read.
    """

    spans: NDArray[np.int64]
    size: int
    changed_ns: int

    def __len__(self) -> int:
        return len(self.spans)

    @classmethod
    def of(cls, path: Path, block: int = BLOCK) -> "RowOffsets":
        """Find the rows: a file whose first character is [ is an array, any other has one row a line."""
        found = array("q")
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
            start = len(UTF8_MARK) if file.read(len(UTF8_MARK)) == UTF8_MARK else 0
            file.seek(start)
            is_array = _first_character(file) == b"["
            file.seek(start)
            walk = _ArrayWalk(file, start, block).spans() if is_array else _line_spans(file, start)
            try:
                for span in walk:
                    found.extend(span)
            except _RowTooLong as error:
                raise ValueError(
                    f"{path}: a row must have at most {MOST_ROW_BYTES} bytes, got more from byte "
                    f"{error.args[0]} on: check for a missing quote or bracket there"
                ) from None
        spans = np.frombuffer(found, dtype=np.int64).reshape(-1, 3)
        if not len(spans):
            raise ValueError(f"{path} must hold a JSON array of rows or one row a line, got no row: add some")
        return cls(spans, status.st_size, status.st_mtime_ns)

    def read(self, path: Path, row: int) -> bytes:
        """The bytes of one row.

        Raises:
            ValueError: the file has changed since its rows were found.
        """
        first, after, _ = (int(n) for n in self.spans[row])
        with open(path, "rb", buffering=0) as file:
            status = os.fstat(file.fileno())
            if (status.st_size, status.st_mtime_ns) != (self.size, self.changed_ns):
                raise ValueError(f"{path} must stay as it was opened, got a changed file: open it again")
            return os.pread(file.fileno(), after - first, first)


class _RowTooLong(Exception):
    pass


def _first_character(file: BinaryIO) -> bytes:
    while block := file.read(BLOCK):
        if block.strip():
            return block.lstrip()[:1]
    return b""


def _line_spans(file: BinaryIO, place: int) -> Iterator[tuple[int, int, int]]:
    number = 1
    while line := file.readline(MOST_ROW_BYTES + 1):
        if len(line) > MOST_ROW_BYTES:
            raise _RowTooLong(place)
        if line.strip():
            yield place, place + len(line), number
        place, number = place + len(line), number + 1


class _ArrayWalk:
    """One pass over an array's tokens; keeps the open brackets and the bytes of an unfinished token."""

    def __init__(self, file: BinaryIO, start: int, block: int) -> None:
        self._file, self._block = file, block
        self._buffer, self._base = b"", start  # the bytes at hand, and where they lie in the file
        self._line, self._counted = 1, 0  # lines up to `_counted`, a place in the buffer
        self._open: list[int] = []
        self._row: tuple[int, int] | None = None  # first byte and line of the row that is being read
        self._closed = False

    def spans(self) -> Iterator[tuple[int, int, int]]:
        more = True
        while more:
            fresh = self._file.read(max(self._block, len(self._buffer)))  # a long token is not read too often
            more = bool(fresh)
            self._buffer += fresh
            used = 0
            for match in TOKEN.finditer(self._buffer):
                if more and (match[0] == b'"' or match.end() == len(self._buffer)):
                    break  # it may go on in the next block
                used = match.end()
                if self._closed and match[0].strip():
                    yield self._trail(match.start())
                    return
                yield from self._take(match)
            self._drop(used)
        if not self._closed:  # the file ends within a row, or between two: either must be noticed
            end = self._base + len(self._buffer)
            first, line = self._row or (end, self._line_of(len(self._buffer)))
            yield first, end, line

    def _take(self, match: re.Match[bytes]) -> Iterator[tuple[int, int, int]]:
        token, depth = match[0], len(self._open)
        kind = token[0]
        if kind in b"{[" and len(token) == 1:
            if depth == 1:
                self._row = self._base + match.start(), self._line_of(match.start())
            self._open.append(kind)
        elif kind in b"}]" and len(token) == 1:
            self._close(OPENED_BY[kind])
            if self._row is not None and len(self._open) == 1:
                first, line = self._row
                self._row = None
                yield first, self._base + match.end(), line
        elif depth == 1 and (inner := token.strip(BETWEEN)):
            at = match.start() + token.index(inner)
            yield self._base + at, self._base + at + len(inner), self._line_of(at)

    def _close(self, opener: int) -> None:
        """Close the innermost bracket of that kind; one that fits no bracket of the row is passed over."""
        for place in range(len(self._open) - 1, 0, -1):
            if self._open[place] == opener:
                del self._open[place:]
                return
        if len(self._open) == 1 and opener == self._open[0]:
            self._open.clear()
            self._closed = True

    def _trail(self, at: int) -> tuple[int, int, int]:
        """Whatever follows the array, as one row that is none."""
        at += len(self._buffer[at:]) - len(self._buffer[at:].lstrip())
        first, size = self._base + at, os.fstat(self._file.fileno()).st_size
        return first, min(size, first + MOST_ROW_BYTES), self._line_of(at)

    def _line_of(self, at: int) -> int:
        self._line += self._buffer.count(b"\n", self._counted, at)
        self._counted = at
        return self._line

    def _drop(self, used: int) -> None:
        """Forget what was read, but for the lines in it."""
        self._line_of(used)
        self._buffer, self._base, self._counted = self._buffer[used:], self._base + used, 0
        if self._base + len(self._buffer) - (self._row or (self._base, 0))[0] > MOST_ROW_BYTES:
            raise _RowTooLong((self._row or (self._base, 0))[0])
