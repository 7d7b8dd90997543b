"""Call the server's application in this process, as a client would over a socket."""

import asyncio
import json
import re
from dataclasses import dataclass, field
from typing import Any

from starlette.types import ASGIApp

# What no client may ever read: paths of the server, addresses in memory, stack traces, names of classes.
LEAKS = re.compile(rb"0x[0-9a-f]{6,}|/(?:tmp|usr|var|home)/|Traceback|object at |bvllm\.server|<class")


@dataclass
class Reply:
    """What came back."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """Of the error."""
        found: str = self.json["error"]["code"]
        return found

    @property
    def events(self) -> list[Any]:
        """The data of a stream, comments left out."""
        lines = [line[6:] for line in self.body.decode().split("\n") if line.startswith("data: ")]
        return [line if line == "[DONE]" else json.loads(line) for line in lines]


def call(app: ASGIApp, method: str, path: str, body: bytes | list[bytes] = b"", **headers: str) -> Reply:
    """One request from start to end."""
    return asyncio.run(request(app, method, path, body, **headers))


def post(app: ASGIApp, path: str, given: Any, **headers: str) -> Reply:
    """A request with JSON."""
    return call(
        app, "POST", path, json.dumps(given).encode(), **{"content_type": "application/json", **headers}
    )


async def request(
    app: ASGIApp,
    method: str,
    path: str,
    body: bytes | list[bytes] = b"",
    leaves_after: float | None = None,
    **headers: str,
) -> Reply:
    """One request; the client leaves after so many seconds, if it is told to."""
    pieces = [body] if isinstance(body, bytes) else list(body)
    reply, over = Reply(), asyncio.Event()

    async def receive() -> dict[str, Any]:
        if pieces:
            return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}
        if leaves_after is None:
            await over.wait()
        else:
            await asyncio.sleep(leaves_after)
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            reply.status = message["status"]
            reply.headers = {k.decode().lower(): v.decode() for k, v in message["headers"]}
        else:
            reply.body += message.get("body", b"")
            if not message.get("more_body"):
                over.set()

    path, _, query = path.partition("?")
    given = {"host": "localhost", **{name.replace("_", "-"): value for name, value in headers.items()}}
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "scheme": "http",
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in given.items()],
        "client": ("127.0.0.1", 1),
        "server": ("localhost", 8000),
        "state": {},
    }
    await app(scope, receive, send)
    assert not LEAKS.search(reply.body), reply.body[:500]
    return reply


def question(text: str = "what is it?", video: str = "a.mp4", **more: Any) -> dict[str, Any]:
    """A chat request about a video."""
    parts = [{"type": "video_url", "video_url": {"url": video}}, {"type": "text", "text": text}]
    return {"messages": [{"role": "user", "content": parts}], **more}


def form(data: bytes, name: str = "a.mp4", purpose: str = "user_data") -> bytes:
    """A multipart body with a file; its boundary is `X`."""
    head = f'--X\r\nContent-Disposition: form-data; name="purpose"\r\n\r\n{purpose}\r\n'
    file = f'--X\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
    return head.encode() + file.encode() + data + b"\r\n--X--\r\n"


FORM = {"content_type": "multipart/form-data; boundary=X"}
