"""Damaged videos through a live server, and SIGTERM while it answers: it must live, and end with status 0.

    python -m benchmarks.server_faults [--mutants 2000] [--cycles 20]

nano serves on the loopback of this machine. Every mutant is uploaded, asked about and deleted; its answer
must be an answer or a 4xx of OpenAI's shape. A cycle starts a server, asks, sends SIGTERM at a random moment,
and looks for the status, for files that are left, and for what the client was told.
"""

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from benchmarks.mutants import damage, sample_videos

MOST_MUTANTS, MOST_CYCLES = 20_000, 100
QUESTION = "which colour is the square?"


def start(folder: Path) -> tuple[subprocess.Popen[bytes], str]:
    """A server with nano, and its address."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "bvllm", "serve", "--port", "0", "--index", str(folder / "index")]
    log = (folder / "log").open("wb")
    server = subprocess.Popen([*command, "--upload-dir", str(folder / "uploads")], stdout=log, stderr=log)
    for _ in range(1200):
        found = [
            word for word in (folder / "log").read_text().split() if word.startswith("http://127.0.0.1:")
        ]
        if found:
            at = found[0].rstrip('/",')
            if call(f"{at}/ready", "GET")[0] == 200:
                return server, at
        time.sleep(0.05)
    raise TimeoutError("the server must be ready within a minute: see its log")


def call(url: str, method: str, body: bytes | None = None, kind: str = "") -> tuple[int, dict[str, Any]]:
    """One request: the status, and the JSON that came."""
    try:
        with urlopen(Request(url, body, {"content-type": kind}, method=method), timeout=120) as answer:
            return answer.status, json.load(answer)
    except HTTPError as error:
        return error.code, json.load(error)


def ask(at: str, video: bytes) -> tuple[int, str]:
    """Upload, ask, delete: the status, and the error's code where it is one."""
    form = (
        b'--x\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nuser_data\r\n'
        b'--x\r\ncontent-disposition: form-data; name="file"; filename="v.mp4"\r\n\r\n'
        + video
        + b"\r\n--x--\r\n"
    )
    status, sent = call(f"{at}/v1/files", "POST", form, "multipart/form-data; boundary=x")
    if status != 200:
        return status, sent["error"]["code"]
    parts = [{"type": "video_url", "video_url": {"url": sent["id"]}}, {"type": "text", "text": QUESTION}]
    asked: dict[str, Any] = {"model": "nano", "token_budget": 64, "max_tokens": 8}
    asked["messages"] = [{"role": "user", "content": parts}]
    status, answer = call(f"{at}/v1/chat/completions", "POST", json.dumps(asked).encode(), "application/json")
    call(f"{at}/v1/files/{sent['id']}", "DELETE")
    return status, "" if status == 200 else answer["error"]["code"]


def mutants(folder: Path, count: int) -> Counter[str]:
    """What came of so many damaged videos: all are told apart by status and code."""
    cases, found = list(sample_videos().values()), Counter[str]()
    server, at = start(folder)
    try:
        for seed in range(count):
            status, code = ask(at, damage(cases[seed % len(cases)], seed))
            found[f"{status} {code}".strip()] += 1
        assert server.poll() is None, "the server must live"
    finally:
        server.send_signal(signal.SIGTERM)
        found[f"exit {server.wait(timeout=60)}"] += 1
    return found


def cycles(folder: Path, count: int) -> Counter[str]:
    """What a server says and leaves when it is asked to end while it answers."""
    found, draw = Counter[str](), random.Random(5)
    video = next(iter(sample_videos().values()))
    for number in range(count):
        server, at = start(folder / str(number))
        asker = subprocess.Popen(
            [
                sys.executable,
                "-c",
                f"from benchmarks.server_faults import ask; print(ask({at!r}, {video!r}))",
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        time.sleep(draw.uniform(0.0, 3.0))
        server.send_signal(signal.SIGTERM)
        status = server.wait(timeout=60)
        said = (asker.communicate(timeout=60)[0] or "").strip().splitlines()[-1]
        uploads = folder / str(number) / "uploads"
        left = len(list(uploads.iterdir())) if uploads.is_dir() else 0
        told = said if said.startswith("(") else said.split(":")[0]
        found[f"exit {status}, {left} files left, client: {told}"] += 1
    return found


def main() -> None:
    """Run both, print two JSON objects."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--mutants", type=int, default=2000)
    parser.add_argument("--cycles", type=int, default=20)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(mutants(Path(folder) / "mutants", min(given.mutants, MOST_MUTANTS)), indent=1))
        print(json.dumps(cycles(Path(folder) / "cycles", min(given.cycles, MOST_CYCLES)), indent=1))


if __name__ == "__main__":
    main()
