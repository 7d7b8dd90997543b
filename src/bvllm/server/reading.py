"""Read the body of a request in little memory, and give up on one that comes too slowly."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import ClientDisconnect, Request

from bvllm.server.body import SpoolingJson
from bvllm.server.errors import ApiError
from bvllm.server.settings import KILOBYTE, MEGABYTE, Ceilings
from bvllm.server.store import VideoStore

LOWEST_RATE = 4 << 10  # bytes a second, once the grace is over
BASE64_GROWTH = 4 / 3


async def pieces(request: Request, ceilings: Ceilings, most_bytes: int) -> AsyncIterator[bytes]:
    """The body as it comes.

    Raises:
        ApiError: it is larger, or comes more slowly, than it may.
    """
    said = request.headers.get("content-length", "0")
    if said.isascii() and said.isdecimal() and (len(said) > 18 or int(said) > most_bytes):
        raise too_large(most_bytes)
    size, started = 0, time.monotonic()
    stream = request.stream().__aiter__()
    while True:
        try:
            async with asyncio.timeout(ceilings.body_seconds):
                piece = await anext(stream)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise _too_slow() from None
        except ClientDisconnect:
            raise ApiError(
                400, "client_gone", "the body must come whole, got a part of it: send it again"
            ) from None
        size += len(piece)
        taken = time.monotonic() - started
        if size > most_bytes:
            raise too_large(most_bytes)
        if taken > ceilings.body_seconds and size / taken < LOWEST_RATE:
            raise _too_slow()
        if piece:
            yield piece


@asynccontextmanager
async def json_body(request: Request, ceilings: Ceilings, store: VideoStore) -> AsyncIterator[SpoolingJson]:
    """The body of a request, read; its long texts lie on disk until the block ends.

    Raises:
        ApiError: it is no JSON by its own account, too large, or too slow.
    """
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if (
        kind != "application/json"
    ):  # anything else would come from other sites' pages without being asked about
        raise ApiError(
            415, "not_json", "Content-Type must be application/json, got another: set it", "Content-Type"
        )
    small = ceilings.json_kb * KILOBYTE
    large = int(ceilings.video_mb * MEGABYTE * BASE64_GROWTH)
    body = SpoolingJson(store.new_path, store.take, store.give_back, small, large)
    try:
        async for piece in pieces(request, ceilings, small + large):
            body.feed(piece)
        yield body
    finally:
        body.close()


def too_large(most_bytes: int) -> ApiError:
    """The error for a body beyond its limit."""
    return ApiError(
        413,
        "body_too_large",
        f"body must have at most {most_bytes} bytes, got more: send videos through /v1/files, in parts",
    )


def _too_slow() -> ApiError:
    return ApiError(
        408, "body_too_slow", "the body must come faster, got too few bytes a second: send it again"
    )
