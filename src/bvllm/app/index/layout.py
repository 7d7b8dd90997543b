"""The file of one entry: an ordinary safetensors file that carries a checksum of itself.

Any safetensors reader opens it. The SHA-256 in its header covers every byte of the file, with its own 64
digits taken as zeros. `header.py` reads it back and trusts nothing.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate
from math import prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bvllm.app.index import disk
from bvllm.app.index.key import FORMAT, IndexKey

SUFFIX = ".safetensors"
MAX_HEADER_BYTES = 1 << 20
ALIGNMENT = 64  # of the data, so that it can be used where it lies
# The header begins with these bytes, always; the digits follow, at a place that is known.
BEGINNING = b'{"__metadata__":{"sha256":"'
LENGTH_BYTES = 8
DIGEST_AT = LENGTH_BYTES + len(BEGINNING)
NO_DIGEST = b"0" * 64

NUMBERS = {
    "F64": "<f8", "I64": "<i8", "U64": "<u8", "F32": "<f4", "I32": "<i4", "U32": "<u4",
    "F16": "<f2", "I16": "<i2", "U16": "<u2", "I8": "|i1", "U8": "|u1", "BOOL": "|b1",
}  # fmt: skip
FEATURES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
ITEM_BYTES = {**{name: np.dtype(code).itemsize for name, code in NUMBERS.items()}, "BF16": 2}


@dataclass(frozen=True)
class Block:
    """One tensor on its way into a file: its bytes come in pieces, so that it never has to be in memory."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    pieces: Iterable[bytes | memoryview]

    @property
    def bytes(self) -> int:
        """How many bytes all pieces have."""
        return ITEM_BYTES[self.dtype] * prod(self.shape)


def block_of(name: str, array: NDArray[Any]) -> Block:
    """A block of an array of plain numbers.

    Errors:
        ValueError where the array holds something else.
    """
    little = array.dtype.newbyteorder("<")
    dtype = next((word for word, code in NUMBERS.items() if np.dtype(code) == little), None)
    if dtype is None:
        raise ValueError(
            f"{name} must be an array of plain numbers, got one of {array.dtype}: convert it first"
        )
    return Block(name, dtype, array.shape, [array.astype(little).tobytes()])


def feature_dtype(features: Tensor) -> str:
    """The format's word for the type of features.

    Errors:
        ValueError where features cannot have this type.
    """
    for word, known in FEATURES.items():
        if known == features.dtype:
            return word
    raise ValueError(
        f"features must be float32, float16 or bfloat16, got {features.dtype}: convert them first"
    )


def feature_bytes(features: Tensor) -> memoryview:
    """The bytes of (t, C) features, as they lie in memory."""
    flat: NDArray[np.uint8] = features.detach().cpu().contiguous().view(torch.uint8).numpy().reshape(-1)
    return flat.data


def write_entry(descriptor: int, key: IndexKey, meta: str, blocks: Iterable[Block]) -> None:
    """Fill an empty file; it is sound only once this has returned.

    Errors:
        OSError where the disk does not take it.
        ValueError where the header grows too large.
    """
    ordered = sorted(blocks, key=lambda b: -ITEM_BYTES[b.dtype])  # wide numbers first: all stay aligned
    header = _header(key, meta, ordered)
    digest = hashlib.sha256(header)
    disk.write(descriptor, header, 0)
    place = len(header)
    for block in ordered:
        for piece in block.pieces:
            disk.write(descriptor, piece, place)
            digest.update(piece)
            place += len(piece)
    disk.write(descriptor, digest.hexdigest().encode(), DIGEST_AT)


def _header(key: IndexKey, meta: str, blocks: list[Block]) -> bytes:
    about = {"sha256": NO_DIGEST.decode(), "format": FORMAT, "content": key.content}
    about |= {"sampling": key.sampling, "tower": key.tower, "meta": meta}
    said: dict[str, object] = {"__metadata__": about}
    for block, end in zip(blocks, accumulate(block.bytes for block in blocks)):
        place = {"data_offsets": (end - block.bytes, end)}
        said[block.name] = {"dtype": block.dtype, "shape": block.shape, **place}
    text = json.dumps(said, separators=(",", ":")).encode()
    text += b" " * (-(LENGTH_BYTES + len(text)) % ALIGNMENT)
    if len(text) > MAX_HEADER_BYTES:
        raise ValueError(
            f"index header must have at most {MAX_HEADER_BYTES} bytes, got {len(text)}: shorten the metadata"
        )
    return len(text).to_bytes(LENGTH_BYTES, "little") + text
