"""Clients that ask one question after another and check every answer."""

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from benchmarks.server_load.serve_stub import VIDEO
from benchmarks.server_load.stub import stub_answer

TIMEOUT_SECONDS = 30.0


@dataclass
class Tally:
    """What the good clients saw.

    Attributes:
        seconds: of each right answer.
        wrong: everything else, by what it was.
        health: seconds of each answer of /health.
    """

    seconds: list[float] = field(default_factory=list)
    wrong: dict[str, int] = field(default_factory=dict)
    health: list[float] = field(default_factory=list)

    def fault(self, what: str) -> None:
        """Count one that was not right."""
        self.wrong[what] = self.wrong.get(what, 0) + 1

    def quantile(self, share: float) -> float:
        """Seconds that so many of the right answers took at most."""
        return quantile(self.seconds, share)


def quantile(values: list[float], share: float) -> float:
    """The value below which so many lie; NaN of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


def chat_request(question: str) -> bytes:
    """A whole request, for a connection of its own."""
    parts = [{"type": "video_url", "video_url": {"url": VIDEO}}, {"type": "text", "text": question}]
    body = json.dumps({"messages": [{"role": "user", "content": parts}]}).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Connection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def good_client(name: int, port: int, going: Callable[[], bool], tally: Tally) -> None:
    """Ask until it is over."""
    number = 0
    while going():
        number += 1
        question = f"question {number} of client {name}?"
        began = time.monotonic()
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                try:
                    writer.write(chat_request(question))
                    found = await reader.read()
                finally:
                    writer.close()
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            tally.fault(type(error).__name__)
            continue
        if b" 200 " in found[:20] and stub_answer(question).encode() in found:
            tally.seconds.append(time.monotonic() - began)
        else:
            tally.fault(found[9:12].decode(errors="replace") or "nothing")
