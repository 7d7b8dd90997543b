"""Stream an answer as server-sent events, and notice a client that is gone or no longer reads."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from bvllm.server.asking import client_gone
from bvllm.server.errors import ApiError

HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
FIRST_SECONDS = 1.0  # an error that comes this early gets a status of its own


def data(found: object) -> str:
    """One event."""
    return f"data: {json.dumps(found)}\n\n"


def named(kind: str, found: dict[str, object]) -> str:
    """One event with a name, as /v1/responses sends them."""
    return f"event: {kind}\n{data(found)}"


def comment(text: object) -> str:
    """A line that clients pass over, and that keeps proxies from giving up."""
    return f": {text}\n\n"


class EventStream(Response):
    """Sends what a generator gives, until it ends, the client leaves, or reads nothing for too long.

    The generator is closed in every case before the response is over. An error becomes an error object and
    the end of the stream, without a `[DONE]`: a stream that merely ended would pass for a whole answer.

    Args:
        lines: to be sent; the first has been waited for, if it came within `FIRST_SECONDS`.
        most_seconds: that one piece may wait for the client to read it.
        ended: called when the stream is over, however it ended.
    """

    media_type = "text/event-stream"

    def __init__(
        self, lines: AsyncGenerator[str, None], most_seconds: float, ended: Callable[[bool], None]
    ) -> None:
        super().__init__(headers=HEADERS)
        del self.headers["content-length"]
        self._lines, self._most, self._ended = lines, most_seconds, ended

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        sending = asyncio.ensure_future(self._send(send))
        leaving = asyncio.ensure_future(client_gone(receive))
        try:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            leaving.cancel()
            whole = sending.done()
            sending.cancel()
            with suppress(asyncio.CancelledError, TimeoutError, OSError):  # the client is gone, or as good as
                await sending
            self._ended(whole)

    async def _send(self, send: Send) -> None:
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            try:
                async for line in self._lines:
                    await self._piece(send, line)
            except ApiError as error:
                await self._piece(send, data(error.as_json()))
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            await self._lines.aclose()

    async def _piece(self, send: Send, line: str) -> None:
        async with asyncio.timeout(self._most):
            await send({"type": "http.response.body", "body": line.encode(), "more_body": True})


async def begun(lines: AsyncGenerator[str, None]) -> AsyncGenerator[str, None]:
    """The same lines, after the first of them came, or `FIRST_SECONDS` passed.

    Raises:
        ApiError: the first thing that happened was an error: it can still have a status of its own.
    """
    first = asyncio.ensure_future(anext(lines))
    try:
        await asyncio.wait({first}, timeout=FIRST_SECONDS)
        if first.done():
            first.result()
    except BaseException:  # the generator was never handed on
        first.cancel()
        with suppress(BaseException):
            await first
        await lines.aclose()
        raise
    return _joined(first, lines)


async def _joined(
    first: "asyncio.Future[str]", lines: AsyncGenerator[str, None]
) -> AsyncGenerator[str, None]:
    try:
        yield await first
        async for line in lines:
            yield line
    finally:
        if not first.done():
            first.cancel()
            with suppress(asyncio.CancelledError, ApiError, StopAsyncIteration):
                await first
        await lines.aclose()
