"""Reading an entry's header, and everything it says, as if an enemy had written it.

At most 1 MB is parsed; every size is compared with the file's own before anything is mapped or allocated;
the key in it must be the one in the name; the checksum must be that of the bytes. What fails is damage, and
damage costs one thing only: the entry is made again.
"""

import hashlib
import json
import os
from dataclasses import dataclass
from math import prod
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from bvllm.app.index import disk
from bvllm.app.index.key import IndexKey
from bvllm.app.index.layout import BEGINNING, DIGEST_AT, ITEM_BYTES, LENGTH_BYTES, MAX_HEADER_BYTES, NO_DIGEST

BLOCK_BYTES = 1 << 20
Size = Annotated[int, Field(ge=0, lt=1 << 62)]


class DamageFound(Exception):
    """A file that is not the entry its name promises; the message is why."""


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

    Errors:
        DamageFound.
    """
    size = os.fstat(descriptor).st_size
    length = int.from_bytes(disk.read(descriptor, LENGTH_BYTES, 0), "little")
    if length > MAX_HEADER_BYTES:
        raise DamageFound("its header is longer than it may be")
    if size < LENGTH_BYTES or LENGTH_BYTES + length > size:
        raise DamageFound("it ends inside its header")
    text = disk.read(descriptor, length, LENGTH_BYTES)
    if not text.startswith(BEGINNING):
        raise DamageFound("it does not begin as an index entry does")
    try:
        said = json.loads(text)
        about = StoredMetadata.model_validate(said.pop("__metadata__"))
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

    Errors:
        DamageFound.
    """
    digest = hashlib.sha256(disk.read(descriptor, DIGEST_AT, 0) + NO_DIGEST)
    place = DIGEST_AT + len(NO_DIGEST)
    while block := disk.read(descriptor, BLOCK_BYTES, place):
        digest.update(block)
        place += len(block)
    if digest.hexdigest() != header.sha256 or place != header.bytes:
        raise DamageFound("its bytes are not those that were written")
