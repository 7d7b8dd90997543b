"""What an entry of the index holds, and the safetensors file it is written to and read from.

Any safetensors reader opens the file. The SHA-256 in its header covers every byte, with its own 64 digits
taken as zeros. A header is untrusted input: at most 1 MB is parsed; every size is compared
with the file's own before anything is mapped or allocated; the key in it must be the one in the name; the
checksum must be that of the bytes. What fails is damage, and damage costs one thing only: the entry is made
again.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import accumulate
from math import prod
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from torch import Tensor

from bvllm.index import disk
from bvllm.index.key import FORMAT, FORMAT_PREFIX, IndexKey
from bvllm.video import VideoInfo, VideoReport

SUFFIX = ".safetensors"
MAX_HEADER_BYTES = 1 << 20
MAX_TENSORS = 64  # features, seconds and the arrays of the frame map: about ten
LATEST = 1 << 40  # seconds since 1970 that a clock can still print
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
BLOCK_BYTES = 1 << 20
Size = Annotated[int, Field(ge=0, lt=1 << 62)]
# Arrays of the frame map, by name: the index keeps them and does not interpret them.
FrameMapArrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class IndexMeta:
    """What a person, or a search, wants to know of an indexed video.

    Attributes:
        source: the path as it was given.
        fps: frames sampled per second of video; None where every frame was taken.
        made_at: seconds since 1970.
        version: of bvllm.
        info, report: what the video is, and what reading it gave.

    Raises:
        ValueError: made_at or the report's seconds cannot be: an entry with them would count as damaged.
    """

    source: str
    fps: float | None
    made_at: float
    version: str
    info: VideoInfo
    report: VideoReport

    def __post_init__(self) -> None:
        if not (0 <= self.made_at < LATEST and 0 <= self.duration < LATEST):
            raise ValueError(
                f"made_at and report.seconds must lie from 0 to {LATEST}, got {self.made_at:g} and "
                f"{self.duration:g}: give seconds since 1970 and the seconds of the video"
            )

    @property
    def name(self) -> str:
        """The file's own name."""
        return Path(self.source).name

    @property
    def duration(self) -> float:
        """Seconds from the first frame to the end of the last."""
        return self.report.seconds


@dataclass(frozen=True)
class IndexEntry:
    """What is written for one video.

    Shapes: features (T, C) float32, float16 or bfloat16, kept as given; seconds (T,) float64.
    """

    features: Tensor
    seconds: Tensor
    frame_map: FrameMapArrays
    meta: IndexMeta


@dataclass(frozen=True, eq=False)
class IndexedVideo:
    """A sound entry. Features lie in the file and are read from it when they are used.

    The file may be removed or replaced meanwhile: what was opened stays as it was.

    Shapes: features (T, C) float32, float16 or bfloat16; seconds (T,) float64.

    Attributes:
        key: what it was made from.
        path: the entry's file.
        bytes: its size.
    """

    key: IndexKey
    features: Tensor
    seconds: Tensor
    frame_map: dict[str, NDArray[Any]]
    meta: IndexMeta
    path: Path
    bytes: int

    def __len__(self) -> int:
        return len(self.seconds)


@dataclass(frozen=True)
class EntrySummary:
    """An entry as its header tells it, unverified: for listings.

    Attributes:
        used_at: seconds since 1970 when it was last found.
    """

    key: IndexKey
    meta: IndexMeta
    frames: int
    channels: int
    bytes: int
    used_at: float


def check_rows(features: Tensor, seconds: Tensor) -> None:
    """Refuse features and seconds that do not fit each other.

    Raises:
        ValueError: they are not one row of features and one time each, ascending.
    """
    if features.ndim != 2 or not features.numel():
        raise ValueError(
            f"features must be a matrix (T, C) with something in it, got shape {tuple(features.shape)}: "
            "give one row per frame"
        )
    if tuple(seconds.shape) != features.shape[:1]:
        raise ValueError(
            f"seconds must have one entry for each frame ({len(features)}), got shape "
            f"{tuple(seconds.shape)}: cut or fill them"
        )
    if not bool(seconds.isfinite().all()) or not bool((seconds[1:] > seconds[:-1]).all()):
        raise ValueError(
            f"seconds must be finite and ascend, got {seconds.tolist()[:8]}: give the times of the frames"
        )


def check_finite(features: Tensor) -> None:
    """Refuse features that could be written but never opened again.

    Raises:
        ValueError: one is infinite or not a number.
    """
    if not bool(features.isfinite().all()):
        raise ValueError(
            "features must be finite, got infinity or NaN: check the model's weights, or run it in float32"
        )


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

    Raises:
        ValueError: the array holds something else.
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

    Raises:
        ValueError: features cannot have this type.
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

    Raises:
        OSError: the disk does not take it.
        ValueError: the header grows too large.
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


class DamageFound(Exception):
    """A file that is not the entry its name promises; the message is why."""


class OtherVersion(DamageFound):
    """A file that another version of bvllm wrote: it is left alone."""


class StoredTensor(BaseModel):
    """What a header says of one tensor."""

    model_config = ConfigDict(extra="forbid", strict=True)

    dtype: Literal["F64", "I64", "U64", "F32", "I32", "U32", "F16", "BF16", "I16", "U16", "I8", "U8", "BOOL"]
    shape: Annotated[list[Size], Field(max_length=4)]
    data_offsets: Annotated[list[Size], Field(min_length=2, max_length=2)]

    @property
    def bytes(self) -> int:
        """How many bytes a tensor of this shape has."""
        return ITEM_BYTES[self.dtype] * prod(self.shape)


class StoredMetadata(BaseModel):
    """What a header says of the whole."""

    model_config = ConfigDict(extra="forbid", strict=True)

    sha256: str
    format: Literal["bvllm-index-1"]
    content: str
    sampling: str
    tower: str
    meta: str


TENSORS = TypeAdapter(dict[str, StoredTensor])


@dataclass(frozen=True)
class Header:
    """A header that fits its file: its tensors lie in it side by side, and nothing else does."""

    key: IndexKey
    sha256: str
    meta: str
    tensors: dict[str, StoredTensor]
    data_at: int
    bytes: int


def read_header(descriptor: int, name: str) -> Header:
    """The header of an open file, made for the key `name`; the checksum is not compared here.

    Raises:
        DamageFound: the header is torn, or of another file.
    """
    size = os.fstat(descriptor).st_size
    length = int.from_bytes(disk.read(descriptor, LENGTH_BYTES, 0), "little")
    if length > MAX_HEADER_BYTES:
        raise DamageFound("its header is longer than it may be")
    if size < LENGTH_BYTES or LENGTH_BYTES + length > size:
        raise DamageFound("it ends inside its header")
    text = disk.read(descriptor, length, LENGTH_BYTES)
    try:
        said = json.loads(text)
        _check_version(said, name)  # first: another version may begin, and name its fields, in another way
        if not text.startswith(BEGINNING):
            raise DamageFound("it does not begin as an index entry does")
        about = StoredMetadata.model_validate(said.pop("__metadata__"))
        if len(said) > MAX_TENSORS:
            raise DamageFound(f"its header names {len(said)} tensors, at most {MAX_TENSORS} are read")
        tensors = TENSORS.validate_python(said)
        key = IndexKey(about.content, about.sampling, about.tower)
        made_for = key.name
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise DamageFound("its header cannot be read") from None
    if made_for != name:
        raise DamageFound("it was made for another video, sampling or model")
    header = Header(key, about.sha256, about.meta, tensors, LENGTH_BYTES + length, size)
    _check_sizes(header)
    return header


def _check_version(said: dict[str, Any], name: str) -> None:
    """Refuse what another version wrote; a flipped letter in an entry whose name is ours is damage.

    Of another version only this is known: its `__metadata__` holds a `format` that begins as ours does.
    """
    about = said["__metadata__"]
    version = str(about["format"])
    if version == FORMAT or not version.startswith(FORMAT_PREFIX):
        return
    key = [part for part in map(about.get, ("content", "sampling", "tower")) if isinstance(part, str)]
    if len(key) != 3 or IndexKey(*key).name != name:
        raise OtherVersion(
            f"it was written by another version of bvllm, as {version[:40]!r}; this one reads {FORMAT}"
        )


def _check_sizes(header: Header) -> None:
    end = 0
    for tensor in sorted(header.tensors.values(), key=lambda t: t.data_offsets):
        if tensor.data_offsets != [end, end + tensor.bytes]:
            raise DamageFound("its tensors overlap, leave holes, or are not of the size they claim")
        end += tensor.bytes
    if header.data_at + end != header.bytes:
        raise DamageFound(f"it has {header.bytes} bytes where its header promises {header.data_at + end}")


def verify(descriptor: int, header: Header) -> None:
    """Compare every byte with the checksum; reads the file once, in blocks.

    Raises:
        DamageFound: a byte is not what was written.
    """
    digest = hashlib.sha256(disk.read(descriptor, DIGEST_AT, 0) + NO_DIGEST)
    place = DIGEST_AT + len(NO_DIGEST)
    while block := disk.read(descriptor, BLOCK_BYTES, place):
        digest.update(block)
        place += len(block)
    if digest.hexdigest() != header.sha256 or place != header.bytes:
        raise DamageFound("its bytes are not those that were written")
