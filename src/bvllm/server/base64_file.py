"""Turn a file of base64 text into the bytes it stands for, piece by piece."""

import binascii
import re
from collections.abc import Iterator
from pathlib import Path

from bvllm.server.errors import ApiError

PIECE = 4 * (64 << 10)
MOST_HEAD = 1024
# `data:video/mp4;base64,`; parameters are tolerated, and frames one after another (`,f1,f2`) are not a video.
HEAD = re.compile(rb"data:[\w.+-]+/[\w.+-]+(?:;[\w.+-]+=[^;,]{0,100})*;base64,", re.IGNORECASE)
USUAL = bytes.maketrans(b"-_", b"+/")  # from the alphabet of URLs


def decoded(path: Path, *, bare: bool = False) -> Iterator[bytes]:
    """The bytes, in pieces.

    Args:
        path: of the text.
        bare: whether it is base64 without a `data:` in front.

    Raises:
        ApiError: it is not.
    """
    with path.open("rb") as file:
        head = file.read(MOST_HEAD)
        found = HEAD.match(head)
        if found is None and not bare:
            raise _no_data("a text that is too long to be an address")
        file.seek(found.end() if found else 0)
        rest = b""
        while piece := file.read(PIECE):
            rest += _plain(piece)
            whole = len(rest) - len(rest) % 4
            yield _bytes_of(rest[:whole])
            rest = rest[whole:]
        if rest:
            yield _bytes_of(rest + b"=" * (-len(rest) % 4))


def _plain(piece: bytes) -> bytes:
    """Without spaces and line ends, in the usual alphabet."""
    return b"".join(piece.split()).translate(USUAL)


def decoded_size(characters: int) -> int:
    """How many bytes so many characters of base64 stand for, at most."""
    return characters // 4 * 3 + 3


def _bytes_of(text: bytes) -> bytes:
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except binascii.Error:
        raise _no_data("text that is not base64") from None


def _no_data(what: str) -> ApiError:
    return ApiError(
        400,
        "invalid_data_url",
        f"a video in the request must read `data:video/mp4;base64,...`, got {what}: encode it as base64",
        "messages",
    )
