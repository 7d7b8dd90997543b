"""A server on a real socket: clients that leave, drip or say nonsense, and the signal that ends it."""

import json
import os
import signal
import socket
import time

import pytest

from benchmarks.server_load.stub import StubEngine, stub_answer
from bvllm.server.run import listen, serve_at
from bvllm.server.settings import Ceilings, ServerSettings
from bvllm.server.state import ServerState
from tests.server.asgi import question
from tests.server.live import serving

QUICK = Ceilings(header_seconds=0.3, body_seconds=0.3, grace_seconds=2.0)


def asking(**more):
    body = json.dumps(question(**more)).encode()
    return (
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n" % len(body)
    ) + body


def opened(address):
    port = int(address.rsplit(":", 1)[1])
    connection = socket.create_connection(("127.0.0.1", port))
    connection.settimeout(10)
    return connection


def read_all(connection):
    """Everything until the other side closes."""
    parts = []
    while part := connection.recv(65536):
        parts.append(part)
    return b"".join(parts)


def until(found, seconds=5.0):
    ends = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < ends
        time.sleep(0.005)


@pytest.fixture
def engine(tmp_path):
    return StubEngine(tmp_path / "index")


@pytest.fixture
def address(engine, videos, tmp_path):
    settings = ServerSettings("stub", allow_paths=(videos,), upload_dir=tmp_path / "up", ceilings=QUICK)
    with serving(settings, engine) as found:
        yield found


def test_work_stops_within_a_second_of_each_client_that_leaves(engine, address):
    engine.seconds = 60.0
    for number in range(10):
        with opened(address) as connection:
            connection.sendall(asking(stream=bool(number % 2)))
            until(lambda: engine.working == 1)
        left = time.monotonic()
        until(lambda: engine.working == 0)
        assert time.monotonic() - left < 1.0
    engine.seconds = 0.0
    with opened(address) as connection:
        connection.sendall(asking().replace(b"Host", b"Connection: close\r\nHost"))
        assert stub_answer("what is it?").encode() in read_all(connection)


@pytest.mark.parametrize(
    "said, answer",
    [
        (b"", b""),  # a silent connection
        (b"POST /v1/chat/completions HTTP/1.1\r\nHost: loc", b""),  # a head that never ends
        (asking()[:-5], b"408"),  # a body that never ends
        (b"\x16\x03\x01 no HTTP at all\r\n\r\n", b"400"),
        (
            b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 600_000 + b"\r\n\r\n",
            None,
        ),  # 400, or reset before it is read
        (b"GET /health HTTP/1.1\r\n\r\n", b"400"),
        (asking().replace(b"Content-Length: ", b"Content-Length: 9999999"), b"413"),
    ],
)
def test_connections_that_do_not_get_to_the_point_are_closed(address, said, answer):
    with opened(address) as connection:
        began = time.monotonic()
        connection.sendall(said)
        try:
            found = read_all(connection)
        except ConnectionResetError:  # closed while more was on its way
            found = b""
        assert time.monotonic() - began < 5.0
        assert answer is None or found.split(b" ")[1:2] == ([answer] if answer else [])
        assert b" 200 " not in found


def test_a_body_that_drips_is_given_up(address):
    with opened(address) as connection:
        connection.sendall(asking()[:-40])
        began = time.monotonic()
        try:
            for byte in asking()[-40:]:
                connection.sendall(bytes([byte]))
                time.sleep(0.05)
        except OSError:
            pass
        assert b" 408 " in connection.recv(200)
        assert time.monotonic() - began < 4.0


def test_a_signal_lets_running_work_end_and_the_process_ends_with_0(videos, tmp_path):
    """In a process of its own, forked from this one so that nothing is imported again."""
    upload = tmp_path / "uploads"
    settings = ServerSettings("stub", allow_paths=(videos,), upload_dir=upload, ceilings=QUICK)
    with listen("127.0.0.1", 0) as at:
        address = f"http://127.0.0.1:{at.getsockname()[1]}"
        child = os.fork()
        if not child:
            code = 1
            try:
                serve_at(ServerState.of(settings, StubEngine(tmp_path / "index", 0.8)), at)
                code = 0
            finally:
                os._exit(code)
    with opened(address) as running, opened(address) as idle:
        running.sendall(asking())
        until(lambda: upload.is_dir() and any(upload.iterdir()))
        time.sleep(0.4)
        os.kill(child, signal.SIGTERM)
        assert stub_answer("what is it?").encode() in read_all(running)
        assert read_all(idle) == b""
        assert os.waitpid(child, 0)[1] == 0
    with pytest.raises(ConnectionRefusedError):
        opened(address)
    assert list(upload.iterdir()) == []
