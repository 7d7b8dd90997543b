"""Videos are fetched from allowed hosts at public addresses, and no other connection is ever made."""

import asyncio
import io
from contextlib import asynccontextmanager

import pytest

from bvllm.server.addresses import Refused, is_public
from bvllm.server.fetch import Fetcher, FetchLimits
from tests.server.asgi import post, question

ALLOWED = ("v.example", "w.example:8443")
LIMITS = FetchLimits(1 << 20, seconds=2.0, bytes_per_second=1000, grace_seconds=0.3)


class Upstream:
    """A server on loopback; what was asked of it, and which addresses were to be dialled."""

    def __init__(self):
        self.heads, self.dialled, self.port = [], [], 0

    def dial(self, address, port):
        self.dialled.append(address)
        return "127.0.0.1", self.port

    async def handle(self, reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.heads.append(head)
        path = head.split()[1]

        def say(status, *headers):
            writer.write("\r\n".join([f"HTTP/1.1 {status}", *headers, "", ""]).encode())

        try:
            if path == "/ok":
                say("200 OK", "Content-Length: 5")
                writer.write(b"hello")
            elif path.startswith("/to?"):
                say("302 Found", f"Location: {path[4:]}", "Content-Length: 0")
            elif path == "/gzip":
                say("200 OK", "Content-Encoding: gzip", "Content-Length: 3")
                writer.write(b"abc")
            elif path == "/big":
                say("200 OK", "Content-Length: 99999999999")
            elif path == "/none":
                say("404 Not Found", "Content-Length: 0")
            elif path in ("/endless", "/drip"):
                say("200 OK")
                while True:
                    writer.write(b"x" * (65536 if path == "/endless" else 1))
                    await writer.drain()
                    await asyncio.sleep(0 if path == "/endless" else 0.1)
            elif path == "/hang":
                await asyncio.sleep(30)
            await writer.drain()
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    @asynccontextmanager
    async def listening(self):
        server = await asyncio.start_server(self.handle, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()


def resolving(*answers):
    """A resolver that gives the next answer each time, the last one for ever."""
    left = list(answers)

    async def resolve(host, port):
        return left.pop(0) if len(left) > 1 else left[0]

    return resolve


def fetch(url, resolver=resolving(["8.8.8.8"]), limits=LIMITS):  # noqa: B008 - keeps nothing between calls
    """What a fetch gave: the bytes, or why it was refused; and the upstream."""

    async def run():
        async with Upstream().listening() as upstream:
            sink = io.BytesIO()
            fetcher = Fetcher(ALLOWED, limits, resolver=resolver, dial=upstream.dial)
            try:
                await fetcher.fetch(url, sink)
            except Refused as refused:
                return str(refused), upstream, len(sink.getvalue())
            return sink.getvalue(), upstream, 0

    return asyncio.run(run())


def test_a_video_is_fetched_from_the_address_that_was_checked():
    found, upstream, _ = fetch("http://V.example/ok#t=3")
    assert (found, upstream.dialled) == (b"hello", ["8.8.8.8"])
    assert "Host: v.example\r\n" in upstream.heads[0]
    assert "Accept-Encoding: identity" in upstream.heads[0]
    assert fetch("http://v.example/to?/ok")[0] == b"hello"
    assert fetch("http://w.example:8443/ok")[0] == b"hello"


# 62 ways to reach what must not be reached, by the address as it is written or by what a name resolves to.
WRITTEN = [
    "http://127.0.0.1/",
    "http://2130706433/",
    "http://0x7f.1/",
    "http://0x7f000001/",
    "http://0177.0.0.1/",
    "http://127.1/",
    "http://127.0.1/",
    "http://0/",
    "http://[::1]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[fe80::1%25eth0]/",
    "http://169.254.169.254/latest/meta-data/",
    "http://metadata.google.internal/",
    "http://localhost/",
    "http://localhost.v.example/",
    "http://v.example.evil/",
    "http://evil/?v.example",
    "http://evil/#@v.example/",
    "http://v.example@127.0.0.1/",
    "http://user:word@v.example/",
    "http://v.example:word@127.0.0.1/",
    "http://127.0.0.1\\@v.example/",
    "http://v.example\\.evil/",
    "http://v.example%2f@127.0.0.1/",
    "http://v.example%00.evil/",
    "http://v.example:22/",
    "http://v.example:0/",
    "http://v.example:99999/",
    "http://v.example:8443/",
    "http://w.example/",
    "http://v.exampl\u0435/",
    "http://v\u3002example/",
    "http://v.example\r\nX: y/",
    "http://v.example /",
    "http:///v.example/",
    "http:v.example/",
    "//v.example/",
    "ftp://v.example/",
    "file:///etc/passwd",
    "gopher://v.example/",
    "http://v.example/\u00e9",
    "http://" + "v" * 5000 + ".example/",
]
RESOLVED = [
    ["127.0.0.1"],
    ["10.0.0.1", "8.8.8.8"],
    ["8.8.8.8", "::1"],
    ["192.168.1.1"],
    ["172.16.0.1"],
    ["169.254.169.254"],
    ["100.64.0.1"],
    ["::ffff:127.0.0.1"],
    ["::ffff:10.0.0.1"],
    ["64:ff9b::7f00:1"],
    ["64:ff9b:1::1"],
    ["2002:7f00:1::"],
    ["::127.0.0.1"],
    ["fe80::1%1"],
    ["fd00::1"],
    ["fec0::1"],
    ["224.0.0.1"],
    ["0.0.0.0"],
    ["255.255.255.255"],
    [],
]


def test_nothing_else_is_reached():
    """0 connections for all of them, in one process of one server."""

    async def run():
        async with Upstream().listening() as upstream:
            for url in WRITTEN:
                fetcher = Fetcher(ALLOWED, LIMITS, resolver=resolving(["8.8.8.8"]), dial=upstream.dial)
                with pytest.raises(Refused, match=r"^(url|host)$"):
                    await fetcher.fetch(url, io.BytesIO())
            for addresses in RESOLVED:
                fetcher = Fetcher(ALLOWED, LIMITS, resolver=resolving(addresses), dial=upstream.dial)
                with pytest.raises(Refused, match=r"^address$"):
                    await fetcher.fetch("http://v.example/ok", io.BytesIO())
            return upstream

    upstream = asyncio.run(run())
    assert len(WRITTEN) + len(RESOLVED) == 62
    assert (upstream.heads, upstream.dialled) == ([], [])


def test_a_name_that_changes_its_address_is_checked_each_time():
    """Rebinding: one resolution for each hop, and what was checked is what is dialled."""
    found, upstream, _ = fetch("http://v.example/ok", resolving(["8.8.4.4"], ["127.0.0.1"]))
    assert (found, upstream.dialled) == (b"hello", ["8.8.4.4"])
    found, upstream, _ = fetch("http://v.example/to?/ok", resolving(["8.8.4.4"], ["127.0.0.1"]))
    assert (found, upstream.dialled, len(upstream.heads)) == ("address", ["8.8.4.4"], 1)


@pytest.mark.parametrize(
    "path, why",
    [
        ("/to?http://169.254.169.254/", "host"),
        ("/to?//other.example/ok", "host"),
        ("/to?file:///etc/passwd", "url"),
        ("/to?/to?/to?/to?/ok", "redirect"),
        ("/gzip", "encoding"),
        ("/big", "size"),
        ("/none", "status"),
        ("/missing", "network"),
        ("/endless", "size"),
        ("/drip", "slow"),
    ],
)
def test_what_an_allowed_host_may_not_do(path, why):
    found, _, taken = fetch("http://v.example" + path)
    assert found == why
    assert taken <= LIMITS.bytes


def test_a_host_that_hangs_is_given_up():
    assert fetch("http://v.example/hang", limits=FetchLimits(1 << 20, seconds=0.3))[0] == "deadline"


def test_https_is_not_left_for_http():
    from bvllm.server.addresses import Target
    from bvllm.server.fetch import _moved

    with pytest.raises(Refused, match="redirect"):
        _moved("https://v.example/a", "http://v.example/b", Target("https", "v.example", 443, "/a"))


@pytest.mark.parametrize(
    "address, public", [("8.8.8.8", True), ("2606:4700::1111", True), ("nonsense", False)]
)
def test_public_addresses(address, public):
    assert is_public(address) is public


def test_over_http_a_fetch_is_off_unless_a_host_is_allowed(server):
    refused = post(server.app, "/v1/chat/completions", question(video="http://v.example/ok"))
    assert (refused.status, refused.code) == (403, "fetch_not_allowed")


def test_over_http_an_allowed_video_is_asked_about_and_others_are_refused(make):
    async def run():
        import json

        from tests.server.asgi import request

        async with Upstream().listening() as upstream:
            fetcher = Fetcher(ALLOWED, LIMITS, resolver=resolving(["8.8.8.8"]), dial=upstream.dial)
            server = make(fetcher=fetcher)
            replies = []
            for video in ("http://v.example/ok", "http://127.0.0.1/ok", "http://v.example/none"):
                body = json.dumps(question(video=video)).encode()
                kind = "application/json"
                replies.append(
                    await request(server.app, "POST", "/v1/chat/completions", body, content_type=kind)
                )
            return replies

    good, wrong, none = asyncio.run(run())
    assert good.status == 200
    assert (wrong.status, wrong.code) == (400, "fetch_host")
    assert (none.status, none.code) == (400, "fetch_status")
