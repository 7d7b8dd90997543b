"""Read a JSON body of any size in little memory: long strings go to disk while they arrive.

A video inside JSON is base64 text, and a parsed body of 300 MB takes four times as much memory. So the text
is scanned as it comes: a string longer than `LONG` is written to a file, and in its place the JSON gets a
token that nobody outside can guess. What is parsed at the end is small.
"""

import json
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NoReturn

from bvllm.server.errors import ApiError, wrong_request

LONG = 128 << 10  # characters of a string that is kept in memory
MOST_SPOOLED = 64
FEWEST_PER_ESCAPE = 16  # characters of a long text for each escaped slash in it
NOWHERE, UNKNOWN = -1, -2  # no quote in the rest of a piece; not looked for yet


@dataclass(frozen=True)
class SpooledText:
    """A long string of a body, on disk.

    Attributes:
        path: of the file; gone with the body.
        characters: its length.
    """

    path: Path
    characters: int


@dataclass
class SpoolingJson:
    """Takes the pieces of a body, then gives the parsed whole.

    Args:
        new_file: makes a file to write to.
        take: told of bytes before they are written to it; may refuse them.
        give_back: told how many are gone again.
        most_bytes: of the JSON without its long strings.
        most_spooled_bytes: of the long strings together.

    Example:
        >>> body = SpoolingJson(lambda: Path("unused"), print, print, 1000, 1000)
        >>> body.feed(b'{"a": "b\\\\"c"'), body.feed(b"}"), body.parsed()
        (None, None, {'a': 'b"c'})
    """

    new_file: Callable[[], Path]
    take: Callable[[int], None]
    give_back: Callable[[int], None]
    most_bytes: int
    most_spooled_bytes: int
    _spooled: dict[str, SpooledText] = field(default_factory=dict)
    _kept: bytearray = field(default_factory=bytearray)
    _string: bytearray | None = None  # of the string that is being read, its quotes left out
    _escaped: bool = False
    _file: BinaryIO | None = None
    _path: Path | None = None
    _written: int = 0
    _spooled_bytes: int = 0
    _escapes: int = 0
    _taken: int = 0
    _nonce: str = field(default_factory=lambda: secrets.token_hex(16))

    def feed(self, piece: bytes) -> None:
        """The next piece of the body.

        Raises:
            ApiError: it grows too large.
        """
        at, quote = 0, UNKNOWN  # where the next quote is, once it was looked for
        while at < len(piece):
            if self._string is None:
                found = piece.find(b'"', at)
                end = len(piece) if found < 0 else found
                self._keep(piece[at:end])
                if found >= 0:
                    self._string = bytearray()
                at, quote = end + 1, UNKNOWN
            elif self._escaped:
                self._take(b"\\" + piece[at : at + 1])
                self._escaped, at = False, at + 1
            else:
                if quote < at and quote != NOWHERE:
                    quote = piece.find(b'"', at)
                end = len(piece) if quote < 0 else quote
                backslash = piece.find(b"\\", at, end)
                end = end if backslash < 0 else backslash
                self._take(piece[at:end])
                at = end + 1
                self._escaped = backslash >= 0
                if quote >= 0 and not self._escaped:
                    self._close_string()

    def parsed(self) -> object:
        """The whole body.

        Raises:
            ApiError: it is no JSON.
        """
        if self._string is not None:
            raise _no_json()
        try:
            found = json.loads(self._kept.decode("utf-8"), parse_constant=_refuse)
            return self._with_long_texts(found) if self._spooled else found
        except (ValueError, RecursionError):
            raise _no_json() from None
        finally:
            self._kept = bytearray()

    def close(self) -> None:
        """Remove the files."""
        self.give_back(self._taken)
        self._taken = 0
        if self._file is not None:
            self._file.close()
        paths = [text.path for text in self._spooled.values()]
        for path in [*paths, *([] if self._path is None else [self._path])]:
            with suppress(OSError):
                path.unlink()

    def _with_long_texts(self, found: object) -> object:
        """The body, where a `SpooledText` stands for each long string: no place for a text takes one."""
        whole = [found]
        left: list[dict[str, object] | list[object]] = [whole]
        while left:
            part = left.pop()
            for place, value in list(part.items() if isinstance(part, dict) else enumerate(part)):
                if isinstance(value, dict | list):
                    left.append(value)
                elif isinstance(value, str) and value in self._spooled:
                    part[place] = self._spooled[value]  # type: ignore[index, call-overload]
        return whole[0]

    def _keep(self, more: bytes) -> None:
        self._kept += more
        if len(self._kept) > self.most_bytes:
            raise ApiError(
                413,
                "body_too_large",
                f"body must have at most {self.most_bytes} bytes beside its videos, got more: "
                "send videos through /v1/files",
            )

    def _take(self, more: bytes) -> None:
        """More of the string that is being read."""
        assert self._string is not None
        if self._file is not None:
            self._spool(more)
            return
        self._string += more
        if len(self._string) > LONG:
            if len(self._spooled) >= MOST_SPOOLED:
                raise wrong_request(f"body must hold at most {MOST_SPOOLED} long texts, got more: send fewer")
            self._path = self.new_file()
            self._file = self._path.open("wb")
            self._written = self._escapes = 0
            self._spool(bytes(self._string).replace(b"\\/", b"/"))
            self._string = bytearray()

    def _spool(self, more: bytes) -> None:
        assert self._file is not None
        self._spooled_bytes += len(more)
        if self._spooled_bytes > self.most_spooled_bytes:
            raise ApiError(
                413,
                "video_too_large",
                f"videos in a body must have at most {self.most_spooled_bytes} characters of base64, got "
                "more: send a smaller one, or a part of it",
            )
        if more.startswith(b"\\"):  # how PHP writes a slash; base64 holds nothing else to escape
            self._escapes += 1
            if more != b"\\/" or self._escapes * FEWEST_PER_ESCAPE > self._written + LONG:
                raise wrong_request("a long text must be base64, got escapes in it: send it as it is")
            more = b"/"
        self.take(len(more))
        self._taken += len(more)
        self._written += len(more)
        self._file.write(more)

    def _close_string(self) -> None:
        assert self._string is not None
        if self._file is None or self._path is None:
            self._keep(b'"' + bytes(self._string) + b'"')
        else:
            self._file.close()
            token = f"spooled:{self._nonce}:{len(self._spooled)}"
            self._spooled[token] = SpooledText(self._path, self._written)
            self._file = self._path = None
            self._keep(f'"{token}"'.encode())
        self._string = None


def _no_json() -> ApiError:
    return ApiError(400, "invalid_json", "body must be JSON in UTF-8, got something else: check its quotes")


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)
