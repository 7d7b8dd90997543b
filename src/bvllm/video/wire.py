"""Send JSON and whole numbers over a socket, each message after its length: the two ends of a worker."""

import json
import socket
import struct
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

BUFFER_BYTES = 256 << 20  # of address space for frames; pages are taken as they are written
MOST_MESSAGE_BYTES = 64 << 20


def say(channel: socket.socket, **said: object) -> None:
    send(channel, json.dumps(said).encode())


def say_with_arrays(
    channel: socket.socket, arrays: dict[str, NDArray[np.int64]] | None, **said: object
) -> None:
    say(channel, **said, arrays=None if arrays is None else {k: v.shape for k, v in arrays.items()})
    for array in (arrays or {}).values():
        send(channel, np.ascontiguousarray(array, np.int64).tobytes())


def send(channel: socket.socket, data: bytes) -> None:
    channel.sendall(struct.pack("<Q", len(data)) + data)


def receive(channel: socket.socket) -> bytes:
    """One message of at most MOST_MESSAGE_BYTES.

    Raises:
        Closed: the other end is gone.
        ValueError: the message is longer than that.
    """
    size = struct.unpack("<Q", _exactly(channel, 8))[0]
    if size > MOST_MESSAGE_BYTES:
        raise ValueError(f"a message must have at most {MOST_MESSAGE_BYTES} bytes, got {size}: send less")
    return _exactly(channel, size)


class Closed(ConnectionError):
    """The other end is gone."""


def _exactly(channel: socket.socket, size: int) -> bytes:
    parts = []
    while size:
        part = channel.recv(min(size, 1 << 20))
        if not part:
            raise Closed
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def receive_arrays(channel: socket.socket, shapes: Mapping[str, list[int]]) -> dict[str, NDArray[np.int64]]:
    """What `say_with_arrays` sent after its message.

    Raises:
        ValueError: they are not of these shapes.
        Closed: the other end is gone.
    """
    found = {}
    for name, shape in shapes.items():
        flat = np.frombuffer(receive(channel), np.int64)
        found[str(name)] = flat.reshape([int(n) for n in shape]).copy()
    return found
