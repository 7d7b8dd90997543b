"""Append the features of a video that is being indexed to a log that survives a crash.

A record holds some frames, their seconds and a SHA-256 that continues the one of the record before it, the
first that of the key. So what is believed is always an unbroken beginning, written for this key, in this
order; whatever a crash left behind it is cut off.
"""

import hashlib
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from bvllm.index import disk
from bvllm.index.entry import FEATURES, ITEM_BYTES, feature_bytes, feature_dtype
from bvllm.index.key import FORMAT

HEAD = struct.Struct("<4s4sII")  # magic, type of the features, frames, channels
DIGEST_BYTES = 32
MAGIC = b"bvj1"
MAX_RECORD_BYTES = 64 << 20


@dataclass(frozen=True)
class LogRecord:
    """One verified record: where it begins and ends, what it holds."""

    start: int
    end: int
    dtype: str
    frames: int
    channels: int
    digest: bytes
    seconds: bytes
    features: bytes


def beginning(name: str) -> bytes:
    """The checksum that the first record of a key's journal continues."""
    return hashlib.sha256(f"{FORMAT} journal {name}".encode()).digest()


def pack(features: Tensor, seconds: Tensor, before: bytes) -> tuple[bytes, bytes]:
    """The bytes of a record that follows the one with checksum `before`, and its own checksum.

    Raises:
        ValueError: the features have a type that no entry can have, or are too many at once.
    """
    head = HEAD.pack(MAGIC, feature_dtype(features).encode(), *features.shape)
    body = seconds.numpy().astype("<f8").tobytes() + feature_bytes(features)
    if len(body) > MAX_RECORD_BYTES:
        raise ValueError(
            f"features must have at most {MAX_RECORD_BYTES} bytes at a time, got {len(body)}: append fewer"
        )
    digest = hashlib.sha256(before + head + body).digest()
    return head + digest + body, digest


def read_records(descriptor: int, name: str, end: int | None = None) -> Iterator[LogRecord]:
    """The unbroken beginning of a journal; stops where the file, or the truth, ends.

    Every size is compared with the file's before anything is read.
    """
    size = os.fstat(descriptor).st_size if end is None else end
    before, start = beginning(name), 0
    while (record := _record_at(descriptor, start, size, before)) is not None:
        yield record
        before, start = record.digest, record.end


def _record_at(descriptor: int, start: int, size: int, before: bytes) -> LogRecord | None:
    data_at = start + HEAD.size + DIGEST_BYTES
    if data_at > size:
        return None
    top = disk.read(descriptor, HEAD.size + DIGEST_BYTES, start)
    head, digest = top[: HEAD.size], top[HEAD.size :]
    magic, word, frames, channels = HEAD.unpack(head)
    dtype = word.rstrip(b"\0").decode("ascii", "replace")
    if magic != MAGIC or dtype not in FEATURES or not frames or not channels:
        return None
    times = 8 * frames
    length = times + frames * channels * ITEM_BYTES[dtype]
    if length > MAX_RECORD_BYTES or data_at + length > size:
        return None
    body = disk.read(descriptor, length, data_at)
    if hashlib.sha256(before + head + body).digest() != digest:
        return None
    return LogRecord(start, data_at + length, dtype, frames, channels, digest, body[:times], body[times:])
