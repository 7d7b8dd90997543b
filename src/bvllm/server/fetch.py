"""Fetch a video from an allowed host, and from nowhere else: the address that was checked is the one dialled.

httpcore asks its network backend to connect to a name. Ours resolves the name once, checks every answer and
dials an address; what lies above (Host, SNI, certificates) keeps the name. httpcore reads no proxy variables,
follows no redirects and unpacks nothing. Redirects are followed here, each checked like the first address.
"""

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urljoin

import httpcore2

from bvllm.server.addresses import Refused, Target, is_public, parse_url

REDIRECTS = (301, 302, 303, 307, 308)
MOST_HOPS = 3
MOST_DIALLED = 2  # of the addresses of a name
RESOLVERS = 4  # threads: a slow name server must not hold up anything else
TIMEOUTS = {"connect": 5.0, "read": 10.0, "write": 5.0, "pool": 5.0}

Resolver = Callable[[str, int], Awaitable[list[str]]]
Dial = Callable[[str, int], tuple[str, int]]


class Sink(Protocol):
    """What a fetched video is written to."""

    def write(self, piece: bytes) -> None: ...


@dataclass(frozen=True)
class FetchLimits:
    """What one fetch may cost.

    Attributes:
        bytes: of the body.
        seconds: altogether.
        bytes_per_second, grace_seconds: the lowest mean rate, once the grace is over.
    """

    bytes: int
    seconds: float = 60.0
    bytes_per_second: int = 32 << 10
    grace_seconds: float = 5.0


class Fetcher:
    """Fetches videos.

    Args:
        allowed: hosts, as for `parse_url`.
        limits: of each fetch.
        resolver, dial: for tests: what a name resolves to, and where an address really leads.
    """

    def __init__(
        self,
        allowed: Iterable[str],
        limits: FetchLimits,
        *,
        resolver: Resolver | None = None,
        dial: Dial = lambda address, port: (address, port),
        ssl_context: Any = None,
    ) -> None:
        self._allowed = frozenset(host.lower() for host in allowed)
        self._limits, self._ssl = limits, ssl_context
        self._resolving = ThreadPoolExecutor(RESOLVERS, thread_name_prefix="resolve")
        self._backend = _Pinned(resolver or self._resolve, dial)

    async def fetch(self, url: str, sink: Sink) -> None:
        """Write what lies at a URL to a sink.

        Raises:
            Refused: url, host, address, redirect, status, encoding, size, slow, deadline or network.
        """
        try:
            async with asyncio.timeout(self._limits.seconds):
                for _ in range(MOST_HOPS + 1):
                    target = parse_url(url, self._allowed)
                    location = await self._hop(target, sink)
                    if location is None:
                        return
                    url = _moved(url, location, target)
                raise Refused("redirect")
        except TimeoutError:
            raise Refused("deadline") from None
        except (OSError, httpcore2.NetworkError, httpcore2.TimeoutException, httpcore2.ProtocolError):
            raise Refused("network") from None

    async def _hop(self, target: Target, sink: Sink) -> str | None:
        """One request; where it is redirected to, None where the body was written."""
        headers = [
            ("Host", target.host_header),
            ("Accept-Encoding", "identity"),
            ("User-Agent", "bvllm"),
            ("Accept", "*/*"),
            ("Connection", "close"),
        ]
        url = httpcore2.URL(
            scheme=target.scheme.encode(),
            host=target.host.encode(),
            port=target.port,
            target=target.path.encode(),
        )
        async with (
            httpcore2.AsyncConnectionPool(
                network_backend=self._backend, http2=False, retries=0, ssl_context=self._ssl
            ) as pool,
            pool.stream("GET", url, headers=headers, extensions={"timeout": TIMEOUTS}) as response,
        ):
            given = {name.lower(): value.decode("latin-1") for name, value in response.headers}
            if response.status in REDIRECTS and b"location" in given:
                return str(given[b"location"])
            self._check_head(response.status, given)
            await self._copy(response, sink)
        return None

    def _check_head(self, status: int, given: dict[bytes, str]) -> None:
        if status != 200:
            raise Refused("status")
        if given.get(b"content-encoding", "identity").lower() != "identity":
            raise Refused("encoding")
        length = given.get(b"content-length", "0")
        if not length.isdecimal() or len(length) > 18 or int(length) > self._limits.bytes:
            raise Refused("size")

    async def _copy(self, response: Any, sink: Sink) -> None:
        size, started = 0, time.monotonic()
        async for piece in response.aiter_stream():
            size += len(piece)
            taken = time.monotonic() - started
            if size > self._limits.bytes:
                raise Refused("size")
            if taken > self._limits.grace_seconds and size / taken < self._limits.bytes_per_second:
                raise Refused("slow")
            sink.write(piece)

    async def _resolve(self, host: str, port: int) -> list[str]:
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(
            self._resolving, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        )
        return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def _moved(url: str, location: str, before: Target) -> str:
    try:
        moved = urljoin(url, location)
    except ValueError:
        raise Refused("url") from None
    if before.scheme == "https" and not moved.lower().startswith("https:"):
        raise Refused("redirect")
    return moved


class _Pinned(httpcore2.AsyncNetworkBackend):
    """Connects to the address that was checked."""

    def __init__(self, resolver: Resolver, dial: Dial) -> None:
        self._resolver, self._dial, self._real = resolver, dial, httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Any = None,
    ) -> Any:
        addresses = await self._resolver(host, port)
        if not addresses or not all(is_public(address) for address in addresses):
            raise Refused("address")
        for address in addresses[:MOST_DIALLED]:
            try:
                return await self._real.connect_tcp(*self._dial(address, port), timeout=timeout)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
                continue
        raise Refused("network")

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
