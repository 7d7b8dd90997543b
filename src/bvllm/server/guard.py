"""Stand in front of every route: who may ask, from where, and what every answer carries.

Pure ASGI: Starlette's middleware classes hide a client that is gone. What is allowed is decided by the path
of the scope alone, never by a URL that is put together from headers.
"""

import hmac
import json
import re
import time
import uuid
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bvllm.server.errors import ApiError, api_error_of
from bvllm.server.logs import RequestLine
from bvllm.server.state import ServerState

OPEN = frozenset({"/", "/health", "/ready", "/favicon.ico"})
OPEN_BELOW = ("/page/", "/static/")
SIGNABLE = re.compile(r"/v1/files/file-[0-9a-f]+/content|/v1/traces/[\w-]+/frames/[0-9]+\.jpg", re.ASCII)
IDS = re.compile(r"(?<=/)(?:file-|chatcmpl-|resp_)[\w-]+|(?<=/frames/)[0-9]+", re.ASCII)
SAFE_METHODS = frozenset({"GET", "HEAD"})
HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}


class Guard:
    """The outermost application.

    Args:
        app: the routes.
        state: of the server.
    """

    def __init__(self, app: ASGIApp, state: ServerState) -> None:
        self._app, self._state = app, state
        self._hosts = state.settings.known_hosts
        key = state.settings.api_key
        self._key = None if key is None else key.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = _Answer(send, f"req_{uuid.uuid4().hex}")
        try:
            self._check(scope)
            await self._app(scope, receive, answer.send)
        except Exception as error:  # the last line of defence: one object in our words
            found = api_error_of(error, self._state.settings.ceilings.request_seconds)
            if found.code == "internal_error":
                self._state.log.mistake(error)
            await answer.fail(found)
        finally:
            self._note(scope, answer)

    def _check(self, scope: Scope) -> None:
        headers = _headers(scope)
        host = headers.get(b"host", b"").decode("latin-1")
        if self._hosts is not None and _name(host) not in self._hosts:
            raise ApiError(
                421, "wrong_host", "Host must be a name of this server, got another: see --trust-host", "Host"
            )
        origin = headers.get(b"origin")
        if origin is not None and not _same_site(origin.decode("latin-1"), host):
            raise ApiError(
                403, "wrong_origin", "requests must come from this server's page, got another", "Origin"
            )
        if headers.get(b"sec-fetch-site", b"none") not in (b"none", b"same-origin"):
            raise ApiError(
                403, "wrong_origin", "requests must come from this server's page, got another", "Origin"
            )
        if self._key is not None and not self._may(scope, headers):
            raise ApiError(
                401,
                "invalid_api_key",
                "the API key must be the server's, got another or none: send Authorization: Bearer KEY",
            )

    def _may(self, scope: Scope, headers: dict[bytes, bytes]) -> bool:
        """Whether a request may pass where there is a key."""
        path = scope["path"]
        if path in OPEN or (path.startswith(OPEN_BELOW) and ".." not in path):
            return True
        scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() == b"bearer" and hmac.compare_digest(given.strip(), self._key or b""):
            return True
        signable = scope["method"] in SAFE_METHODS and SIGNABLE.fullmatch(path)
        return bool(signable) and self._state.signer.holds(path, scope["query_string"].decode("latin-1"))

    def _note(self, scope: Scope, answer: "_Answer") -> None:
        line = RequestLine(
            answer.id, scope["method"], route_of(scope["path"]), answer.status, answer.milliseconds
        )
        self._state.log.request(line)
        if answer.code:
            self._state.metrics.refused(answer.code, answer.status)


class _Answer:
    """What is sent, with the headers that every answer carries."""

    def __init__(self, send: Send, id: str) -> None:
        self._send, self.id = send, id
        self.status, self.code = 0, ""
        self._began = time.monotonic()

    @property
    def milliseconds(self) -> float:
        return round(1000 * (time.monotonic() - self._began), 1)

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            more = {**HEADERS, "x-request-id": self.id, "openai-processing-ms": f"{self.milliseconds:.0f}"}
            headers = [*message.get("headers", []), *_raw(more)]
            self.code = next((v.decode() for n, v in headers if n == b"x-error-code"), self.code)
            message = {**message, "headers": [(n, v) for n, v in headers if n != b"x-error-code"]}
        await self._send(message)

    async def fail(self, error: ApiError) -> None:
        """Answer with an error, unless an answer has begun."""
        if self.status:
            return
        body = json.dumps(error.as_json()).encode()
        headers = {"content-type": "application/json", "content-length": str(len(body)), **error.headers}
        self.code = error.code
        await self.send({"type": "http.response.start", "status": error.status, "headers": _raw(headers)})
        await self.send({"type": "http.response.body", "body": body})


def route_of(path: str) -> str:
    """A path without ids: what may be logged."""
    return IDS.sub("{id}", path)[:100] if path.isascii() else "{other}"


def _headers(scope: Scope) -> dict[bytes, bytes]:
    """Each header's first value; two Host headers never arrive, h11 refuses them."""
    found: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        found.setdefault(name, value)
    return found


def _raw(headers: dict[str, str]) -> Iterable[tuple[bytes, bytes]]:
    return [(name.lower().encode(), value.encode()) for name, value in headers.items()]


def _name(host: str) -> str:
    """The name in a Host header, without its port."""
    if host.startswith("["):
        return host[1:].split("]", 1)[0].lower()
    return host.rsplit(":", 1)[0].lower() if ":" in host else host.lower()


def _same_site(origin: str, host: str) -> bool:
    """Whether a page from an origin is one of ours: the same name and port as in the Host header."""
    try:
        return urlsplit(origin).netloc.lower() == host.lower() != ""
    except ValueError:
        return False
