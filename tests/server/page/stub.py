"""A server that speaks the page's protocol and answers from rules, for states that a real one is rarely in.

What a question says decides what happens: "slow" answers in pieces for ten seconds, "break" ends in
mid-answer, "busy" is refused with 503, "corrupt" with 422. Everything else is answered at once, with a frame
for each 32 tokens of the budget.

    python -m tests.server.page.stub 8123 FOLDER_OF_VIDEOS
"""

import io
import json
import re
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from PIL import Image

PAGE = Path(__file__).parents[3] / "src" / "bvllm" / "server" / "page"
KINDS = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".mp4": "video/mp4",
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "media-src 'self' blob:; connect-src 'self'; form-action 'none'; base-uri 'none'; "
    "frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
DURATION = 12.0
LIMITS = {"budget": {"tokens": 256, "frames": 32}, "limits": {"token_budget": 1024}}


@dataclass
class Stub:
    """What the server knows: its videos by id, the answers it gave, the key it wants, if any.

    `bodies` are the questions as they came, `gone` those whose client left before the end.
    """

    videos: dict[str, Path]
    key: str = ""
    files: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    traces: dict[str, dict[str, object]] = field(default_factory=dict)
    bodies: list[dict[str, object]] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)

    def start(self, port: int = 0) -> ThreadingHTTPServer:
        handler = type("Handler", (_Handler,), {"stub": self})
        server = ThreadingHTTPServer(("127.0.0.1", port), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server


class _Handler(BaseHTTPRequestHandler):
    stub: Stub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        if parts.path == "/":
            self._static("index.html")
        elif parts.path.startswith("/page/"):
            self._static(parts.path.removeprefix("/page/"))
        elif found := re.fullmatch(r"/v1/files/([\w-]+)/content", parts.path):
            self._media(found[1])
        elif found := re.fullmatch(r"/v1/traces/([\w-]+)/frames/(\d+)\.jpg", parts.path):
            self._picture(int(found[2]), heat="heat" in parse_qs(parts.query))
        elif self._refused():
            return
        elif parts.path == "/v1/models":
            self._json(
                {"object": "list", "data": [{"id": "nano", "object": "model", "owned_by": "bvllm", **LIMITS}]}
            )
        elif parts.path == "/v1/videos":
            self._json({"object": "list", "data": [self._video(id) for id in self.stub.videos]})
        elif found := re.fullmatch(r"/v1/traces/([\w-]+)", parts.path):
            known = self.stub.traces.get(found[1])
            self._json(known) if known else self._error(404, "not_found", "no such trace")
        else:
            self._error(404, "not_found", "no such route")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self._refused():
            return
        if self.path == "/v1/files":
            name = re.search(rb'filename="([^"]*)"', body)
            start = body.index(b"\r\n\r\n", body.index(b"filename=")) + 4
            id = f"file-{len(self.stub.files)}"
            self.stub.files[id] = (name[1].decode() if name else "", body[start : body.rindex(b"\r\n--")])
            self._json({"id": id, "object": "file", "status": "processed"})
        elif found := re.fullmatch(r"/v1/files/([\w-]+)/signed_url", self.path):
            self._json({"url": f"v1/files/{found[1]}/content?t=1"})
        elif self.path == "/v1/search":
            hits = [{"video": id, "seconds": 4.0, "score": 0.5} for id in self.stub.videos]
            asked = json.loads(body)
            self._json({"object": "list", "data": [] if "nothing" in asked["query"] else hits})
        elif self.path == "/v1/chat/completions":
            self._answer(json.loads(body))
        else:
            self._error(404, "not_found", "no such route")

    def _answer(self, asked: dict) -> None:
        self.stub.bodies.append(asked)
        question = asked["messages"][0]["content"][1]["text"]
        if "busy" in question:
            return self._error(
                503, "queue_full", "the queue must have room, got 8 waiting", {"Retry-After": "1"}
            )
        if "corrupt" in question:
            return self._error(422, "corrupt", "the video must decode, got no frame in 12 packets")
        self._head(200, "text/event-stream", {"Connection": "close"})
        self.close_connection = True
        try:
            for line in _events(question, self._trace(asked)):
                self.wfile.write(f"{line}\n\n".encode())
                self.wfile.flush()
        except OSError:
            self.stub.gone.append(question)

    def _trace(self, asked: dict) -> dict[str, object]:
        id, budget = f"chatcmpl-{len(self.stub.traces)}", asked.get("token_budget", 256)
        chosen = max(1, budget // 32)
        times = [round((k + 0.5) * DURATION / chosen, 2) for k in range(chosen)]
        frames = [
            {"time": time, "score": 1 / (1 + k), "tokens": 30, "url": f"v1/traces/{id}/frames/{k}.jpg?t=1"}
            for k, time in enumerate(times)
        ]
        warnings = ["a guess: the model does not know 'dog'"] if "dog" in str(asked) else []
        self.stub.traces[id] = {
            "id": id,
            "frames": frames,
            "tokens_asked": budget,
            "tokens_used": 30 * chosen,
            "frames_total": 600,
            "patches_per_frame": 64,
            "duration": DURATION,
            "timings": {"decode": 0.41, "encode": 0.83, "select": 0.02, "answer": 0.19},
            "warnings": warnings,
        }
        return self.stub.traces[id]

    def _picture(self, place: int, *, heat: bool) -> None:
        buffer = io.BytesIO()
        shade = (220, 90, 40) if heat else (60, 90 + place * 9 % 120, 110)
        Image.new("RGB", (320, 180), shade).save(buffer, "JPEG")
        self._bytes(buffer.getvalue(), "image/jpeg")

    def _media(self, id: str) -> None:
        data = self.stub.files[id][1] if id in self.stub.files else self.stub.videos[id].read_bytes()
        wanted = re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if not wanted:
            return self._bytes(data, "video/mp4", more={"Accept-Ranges": "bytes"})
        first, last = int(wanted[1]), min(int(wanted[2] or len(data) - 1), len(data) - 1)
        where = {"Content-Range": f"bytes {first}-{last}/{len(data)}", "Accept-Ranges": "bytes"}
        return self._bytes(data[first : last + 1], "video/mp4", 206, where)

    def _video(self, id: str) -> dict[str, object]:
        path = self.stub.videos[id]
        return {
            "id": id,
            "name": path.name,
            "bytes": path.stat().st_size,
            "seconds": DURATION,
            "indexed": True,
        }

    def _static(self, name: str) -> None:
        file = PAGE / Path(name).name
        if not file.is_file():
            return self._error(404, "not_found", "no such file")
        return self._bytes(file.read_bytes(), KINDS[file.suffix], more={"Content-Security-Policy": POLICY})

    def _refused(self) -> bool:
        if not self.stub.key or self.headers.get("Authorization") == f"Bearer {self.stub.key}":
            return False
        self._error(401, "invalid_api_key", "the API key must be the server's, got another or none")
        return True

    def _error(self, status: int, code: str, message: str, more: dict[str, str] | None = None) -> None:
        error = {"message": message, "type": "invalid_request_error", "code": code, "param": None}
        self._bytes(json.dumps({"error": error}).encode(), "application/json", status, more)

    def _json(self, found: object) -> None:
        self._bytes(json.dumps(found).encode(), "application/json")

    def _bytes(self, data: bytes, kind: str, status: int = 200, more: dict[str, str] | None = None) -> None:
        self._head(status, kind, {"Content-Length": str(len(data)), **(more or {})})
        self.wfile.write(data)

    def _head(self, status: int, kind: str, more: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "X-Content-Type-Options": "nosniff", **more}.items():
            self.send_header(name, value)
        self.end_headers()


def _events(question: str, trace: dict[str, object]) -> Iterator[str]:
    """The lines of a streamed answer."""

    def chunk(delta: dict[str, str], finish: str | None = None, **more: object) -> str:
        choices = [{"index": 0, "delta": delta, "finish_reason": finish}]
        return "data: " + json.dumps({"id": trace["id"], "choices": choices, **more})

    yield ": decode and encode 12/600"
    yield chunk({"role": "assistant", "content": ""})
    for place in range(100 if "slow" in question else 1):
        yield chunk(
            {"content": f"word {place} " if "slow" in question else "a green square at 0:04, <b>not bold</b>"}
        )
        time.sleep(0.1 if "slow" in question else 0)
        if "break" in question:
            return
    yield chunk({}, "stop", trace=trace)
    yield "data: [DONE]"


if __name__ == "__main__":
    found = sorted(Path(sys.argv[2]).glob("*.mp4"))
    Stub({f"file-folder{place}": path for place, path in enumerate(found)}).start(int(sys.argv[1]))
    threading.Event().wait()
