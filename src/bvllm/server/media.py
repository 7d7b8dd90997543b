"""Send a video's bytes to a player, in the ranges that it asks for, from the file that was checked."""

import re
from collections.abc import AsyncIterator
from typing import BinaryIO

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from bvllm.server.errors import ApiError
from bvllm.server.library import FoundVideo
from bvllm.video import Limits
from bvllm.video.safe_open import open_source

PIECE = 256 << 10
RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)
# Told by the first bytes, never by what the client called it; what no browser plays is just bytes.
KINDS = [
    (4, b"ftyp", "video/mp4"),
    (0, b"\x1aE\xdf\xa3", "video/webm"),
    (0, b"OggS", "video/ogg"),
    (0, b"GIF8", "image/gif"),
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"\x89PNG", "image/png"),
]


async def send_video(request: Request, video: FoundVideo, limits: Limits) -> Response:
    """The answer to a request for a video: all of it, or one range.

    Raises:
        VideoError: it cannot be opened, or lies outside of its folder. ApiError: the range is beyond its end.
    """
    file = await to_thread.run_sync(open_source, video.path, limits)
    try:
        size, kind = await to_thread.run_sync(_size_and_kind, file)
        asked = _range(request.headers.get("range"), size)
    except BaseException:  # nobody else would close it
        file.close()
        raise
    first, last = asked or (0, size - 1)
    headers = {
        "Accept-Ranges": "bytes",
        "Content-Length": str(last - first + 1),
        "Cache-Control": "private, no-store",
        "Content-Disposition": "inline",
    }
    if asked is not None:
        headers["Content-Range"] = f"bytes {first}-{last}/{size}"
    status = 200 if asked is None else 206
    if request.method == "HEAD":
        file.close()
        return Response(None, status, headers, kind)
    return StreamingResponse(_pieces(file, first, last), status, headers, kind)


async def _pieces(file: BinaryIO, first: int, last: int) -> AsyncIterator[bytes]:
    try:
        await to_thread.run_sync(file.seek, first)
        left = last - first + 1
        while left and (piece := await to_thread.run_sync(file.read, min(PIECE, left))):
            left -= len(piece)
            yield piece
    finally:
        file.close()


def _size_and_kind(file: BinaryIO) -> tuple[int, str]:
    head = file.read(16)
    size = file.seek(0, 2)
    known = (kind for at, mark, kind in KINDS if head[at : at + len(mark)] == mark)
    return size, next(known, "application/octet-stream")


def _range(said: str | None, size: int) -> tuple[int, int] | None:
    """The first and last byte that are asked for; None, for all, also where several ranges are."""
    found = RANGE.fullmatch(said or "")
    if found is None or not (found[1] or found[2]):
        return None
    if not found[1]:
        first, last = max(0, size - int(found[2])), size - 1
    else:
        first, last = int(found[1]), min(int(found[2] or size - 1), size - 1)
    if first > last:
        raise ApiError(
            416, "range_not_there", f"range must lie within {size} bytes, got another: ask for less"
        )
    return first, last
