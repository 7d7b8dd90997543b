"""Map a verified entry into memory, and read its tensors when they are used."""

import json
import mmap
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import TypeAdapter
from torch import Tensor

from bvllm.index import disk
from bvllm.index.entry import (
    FEATURES,
    ITEM_BYTES,
    NUMBERS,
    SUFFIX,
    DamageFound,
    EntrySummary,
    Header,
    IndexedVideo,
    IndexMeta,
    StoredTensor,
    check_rows,
    read_header,
    verify,
)
from bvllm.video import VideoWarning

# From Python 3.13 on a map need not keep its file open: a search has one for each video.
UNTRACKED: dict[str, Any] = {"trackfd": False} if sys.version_info >= (3, 13) else {}
FEATURES_NAME, SECONDS_NAME, MAP_PREFIX = "features", "seconds", "map."
META = TypeAdapter(IndexMeta)


def meta_text(meta: IndexMeta) -> str:
    """Metadata as it is kept in a header."""
    return json.dumps({**asdict(meta), "report": meta.report.as_json()})


def open_entry(path: Path) -> IndexedVideo:
    """The video of an entry's file, after every byte was compared with the checksum.

    Raises:
        DamageFound: the file is not what its name says
        OSError: it is not there or not readable.
    """
    descriptor = disk.open_to_read(path)
    try:
        header = read_header(descriptor, path.name.removesuffix(SUFFIX))
        verify(descriptor, header)
        data = _map(descriptor, header)
    finally:
        os.close(descriptor)
    _shape(header)
    features = _features(data, header)
    seconds = torch.from_numpy(_array(data, header, header.tensors[SECONDS_NAME]))
    try:
        check_rows(features, seconds)
    except ValueError:
        raise DamageFound("the times of its frames do not ascend") from None
    if not bool(features.isfinite().all()):
        raise DamageFound("features of its frames are no numbers")
    frame_map = {
        name.removeprefix(MAP_PREFIX): _array(data, header, stored)
        for name, stored in header.tensors.items()
        if name.startswith(MAP_PREFIX)
    }
    return IndexedVideo(header.key, features, seconds, frame_map, _meta(header), path, header.bytes)


def summarise(path: Path) -> EntrySummary:
    """What an entry's header says, its bytes not verified.

    Raises:
        OSError, DamageFound: as for `open_entry`.
    """
    descriptor = disk.open_to_read(path)
    try:
        header = read_header(descriptor, path.name.removesuffix(SUFFIX))
        used_at = os.fstat(descriptor).st_mtime
    finally:
        os.close(descriptor)
    return EntrySummary(header.key, _meta(header), *_shape(header), header.bytes, used_at)


def _map(descriptor: int, header: Header) -> mmap.mmap:
    try:
        # Private: writing to a tensor changes no file.
        return mmap.mmap(descriptor, header.bytes, access=mmap.ACCESS_COPY, **UNTRACKED)
    except ValueError:
        raise DamageFound("it shrank while it was read") from None


def _meta(header: Header) -> IndexMeta:
    try:
        return _meta_of(json.loads(header.meta))
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        raise DamageFound("its metadata cannot be read") from None


def _meta_of(said: dict[str, Any]) -> IndexMeta:
    """Metadata from what `meta_text` wrote: in it a warning is a line."""
    report = said["report"]
    warnings = [VideoWarning.parse(line) for line in report["warnings"]]
    return META.validate_python({**said, "report": {**report, "warnings": warnings}})


def _shape(header: Header) -> tuple[int, int]:
    """(T, C), after checking which tensors the header lists."""
    tensors = header.tensors
    features, seconds = tensors.get(FEATURES_NAME), tensors.get(SECONDS_NAME)
    unknown = [name for name in tensors if not name.startswith(MAP_PREFIX)]
    if features is None or seconds is None or len(unknown) != 2:
        raise DamageFound("it must hold features, seconds and a frame map, and does not")
    if features.dtype not in FEATURES or len(features.shape) != 2 or not features.bytes:
        raise DamageFound("its features are no matrix of floats")
    if seconds.dtype != "F64" or seconds.shape != features.shape[:1]:
        raise DamageFound("it does not hold one time for each frame")
    if any(stored.dtype not in NUMBERS for name, stored in tensors.items() if name != FEATURES_NAME):
        raise DamageFound("its frame map is of a type that has no array")
    return features.shape[0], features.shape[1]


def _array(data: mmap.mmap, header: Header, stored: StoredTensor) -> NDArray[Any]:
    count = stored.bytes // ITEM_BYTES[stored.dtype]
    place = header.data_at + stored.data_offsets[0]
    return np.frombuffer(data, NUMBERS[stored.dtype], count, place).reshape(stored.shape)


def _features(data: mmap.mmap, header: Header) -> Tensor:
    stored = header.tensors[FEATURES_NAME]
    place = header.data_at + stored.data_offsets[0]
    count = stored.shape[0] * stored.shape[1]
    flat = torch.frombuffer(data, dtype=FEATURES[stored.dtype], count=count, offset=place)
    return flat.view(stored.shape)
