"""Turn a file of base64 text into the bytes it stands for, piece by piece."""

import base64
import binascii
import re
from collections.abc import Iterator
from pathlib import Path

from bvllm.server.errors import ApiError

PIECE = 4 * (64 << 10)
MOST_HEAD = 1024
# `data:video/mp4;base64,`; parameters are tolerated, and frames one after another (`,f1,f2`) are not a video.
HEAD = re.compile(rb"data:[\w.+-]+/[\w.+-]+(?:;[\w.+-]+=[^;,]{0,100})*;base64,", re.IGNORECASE)
BASE64 = re.compile(rb"[A-Za-z0-9+/_\s-]*=?\s*=?\s*", re.ASCII)


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
            if BASE64.fullmatch(piece) is None:
                raise _no_data("characters that are not base64")
            rest += b"".join(piece.split()).replace(b"-", b"+").replace(b"_", b"/")
            whole = len(rest) - len(rest) % 4
            yield _bytes_of(rest[:whole])
            rest = rest[whole:]
        if rest:
            yield _bytes_of(rest + b"=" * (-len(rest) % 4))


def decoded_size(characters: int) -> int:
    """How many bytes so many characters of base64 stand for, at most."""
    return characters // 4 * 3 + 3


def _bytes_of(text: bytes) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise _no_data("base64 that ends too early") from None


def _no_data(what: str) -> ApiError:
    return ApiError(
        400,
        "invalid_data_url",
        f"a video in the request must read `data:video/mp4;base64,...`, got {what}: encode the file as base64",
        "messages",
    )
