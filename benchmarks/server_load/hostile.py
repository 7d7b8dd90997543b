"""Attack: slow heads, dripping bodies, half-open connections, garbage, resets, large bodies."""

import asyncio
import random
import socket
import struct
from collections.abc import Awaitable, Callable

from benchmarks.server_load.good import chat_request

DRIP_SECONDS = 0.5
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Attack = Callable[[Streams, random.Random], Awaitable[None]]


async def hostile_client(number: int, port: int, going: Callable[[], bool]) -> None:
    """Attack in one way, again and again, until it is over."""
    draw = random.Random(number)
    attack = ATTACKS[number % len(ATTACKS)]
    while going():
        try:
            async with asyncio.timeout(15):
                streams = await asyncio.open_connection("127.0.0.1", port)
                try:
                    await attack(streams, draw)
                finally:
                    streams[1].close()
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            pass  # what the server does to it is its own affair
        await asyncio.sleep(draw.uniform(0.1, 0.5))


async def _drip(streams: Streams, data: bytes) -> None:
    reader, writer = streams
    for byte in data:
        writer.write(bytes([byte]))
        await writer.drain()
        if reader.at_eof():
            return
        await asyncio.sleep(DRIP_SECONDS)


async def slow_head(streams: Streams, draw: random.Random) -> None:
    """A head, one byte at a time."""
    await _drip(streams, chat_request("slow?"))


async def slow_body(streams: Streams, draw: random.Random) -> None:
    """A body, one byte at a time."""
    whole = chat_request("slow?")
    split = whole.index(b"\r\n\r\n") + 4
    streams[1].write(whole[:split])
    await _drip(streams, whole[split:])


async def silent(streams: Streams, draw: random.Random) -> None:
    """Nothing at all."""
    await streams[0].read()


async def garbage(streams: Streams, draw: random.Random) -> None:
    """Bytes without sense."""
    streams[1].write(draw.randbytes(4096))
    await streams[0].read()


async def reset(streams: Streams, draw: random.Random) -> None:
    """A question, and the connection is reset while it is answered."""
    streams[1].write(chat_request("reset?"))
    await streams[1].drain()
    await asyncio.sleep(draw.uniform(0, 0.05))
    found: socket.socket = streams[1].get_extra_info("socket")
    found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def large(streams: Streams, draw: random.Random) -> None:
    """Megabytes of JSON that is none."""
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    streams[1].write(head + b"Transfer-Encoding: chunked\r\n\r\n")
    for _ in range(64):
        streams[1].write(b"10000\r\n" + b"[" * 65536 + b"\r\n")
        await streams[1].drain()
    await streams[0].read()


ATTACKS: list[Attack] = [slow_head, slow_body, silent, garbage, reset, large]
