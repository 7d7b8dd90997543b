"""Measure right answers, alone and among hostile clients, and how long they take; memory; what is left.

    python -m benchmarks.server_load --good 64 --hostile 300 --seconds 60

Everything happens on the loopback of this machine, against a stub in the place of a model. Counts and time
are bounded, so that a slip of the hand cannot turn it into something else.
"""

import argparse
import asyncio
import json
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.server_load.good import Tally, good_client, quantile
from benchmarks.server_load.hostile import hostile_client

MOST_CLIENTS, MOST_SECONDS = 500, 120
SETTLE_SECONDS = 1.0
POLL_SECONDS = 0.2
SHARE = 1 / 3  # of the time, for the quiet part before


def main() -> int:
    """Run it, print one JSON object; 1 where a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.server_load", description=__doc__)
    parser.add_argument("--good", type=int, default=64)
    parser.add_argument("--hostile", type=int, default=300)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--answer-seconds", type=float, default=0.5, help="that the stub takes")
    given = parser.parse_args()
    good, hostile = min(given.good, MOST_CLIENTS), min(given.hostile, MOST_CLIENTS)
    seconds = min(given.seconds, MOST_SECONDS)
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), good, hostile, seconds, given.answer_seconds)
    print(json.dumps(found, indent=1))
    return 0 if found["kept"] else 1


def measure(folder: Path, good: int, hostile: int, seconds: float, answer: float) -> dict[str, object]:
    """Both parts, against one server that lives through them."""
    command = [sys.executable, "-m", "benchmarks.server_load.serve_stub", str(folder), str(answer)]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        wait_until_ready(port)
        quiet = asyncio.run(clients(port, good, 0, seconds * SHARE))
        before = memory(server.pid)
        loud = asyncio.run(clients(port, good, hostile, seconds))
        after = memory(server.pid)
        time.sleep(SETTLE_SECONDS)
        left = metric(port, "vllm:num_requests_running") + metric(port, "vllm:num_requests_waiting")
    finally:
        server.send_signal(signal.SIGTERM)
        status = server.wait(timeout=20)
    files = len(list((folder / "uploads").iterdir()))
    ratio = loud.quantile(0.99) / quiet.quantile(0.99)
    return {
        "good": good,
        "hostile": hostile,
        "quiet": report(quiet),
        "loud": report(loud),
        "p99_ratio": round(ratio, 2),
        "memory_mb": {"before": before, "after": after},
        "questions_left": left,
        "files_left": files,
        "exit_status": status,
        "kept": not loud.wrong and ratio <= 2 and after - before <= 16 and not (left or files or status),
    }


async def clients(port: int, good: int, hostile: int, seconds: float) -> Tally:
    """All of them at once, for so long."""
    tally, ends = Tally(), time.monotonic() + seconds

    def going() -> bool:
        return time.monotonic() < ends

    poller = asyncio.ensure_future(poll_health(port, going, tally))
    nasty = [asyncio.ensure_future(hostile_client(k, port, going)) for k in range(hostile)]
    await asyncio.gather(*(good_client(k, port, going, tally) for k in range(good)))
    for task in nasty:
        task.cancel()
    await asyncio.gather(poller, *nasty, return_exceptions=True)
    return tally


async def poll_health(port: int, going: Callable[[], bool], tally: Tally) -> None:
    """Ask every now and then whether the server is alive, as a supervisor does."""
    while going():
        began = time.monotonic()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        await reader.read()
        writer.close()
        tally.health.append(time.monotonic() - began)
        await asyncio.sleep(POLL_SECONDS)


def report(tally: Tally) -> dict[str, object]:
    """What good clients saw, in numbers."""
    return {
        "right": len(tally.seconds),
        "wrong": tally.wrong,
        "p50_ms": round(1000 * tally.quantile(0.5), 1),
        "p99_ms": round(1000 * tally.quantile(0.99), 1),
        "health_p99_ms": round(1000 * quantile(tally.health, 0.99), 1),
    }


def memory(pid: int) -> int:
    """Resident megabytes of a process."""
    said = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    found = re.search(r"VmRSS:\s+(\d+) kB", said)
    return int(found[1]) // 1024 if found else 0


def metric(port: int, name: str) -> float:
    """A gauge of the server."""
    from urllib.request import urlopen

    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    found = re.search(re.escape(name) + r"\{[^}]*\} (\S+)", text)
    return float(found[1]) if found else float("nan")


def wait_until_ready(port: int) -> None:
    """Until it answers."""
    for _ in range(600):
        try:
            metric(port, "vllm:num_requests_running")
            return
        except OSError:
            time.sleep(0.1)
    raise TimeoutError("the server must answer within a minute")


if __name__ == "__main__":
    sys.exit(main())
