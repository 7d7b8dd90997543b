"""Commit an entry whole or not at all: temporary name, fsync, rename, fsync of the folder."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from bvllm.index import disk
from bvllm.index.entry import SUFFIX, Block, FrameMapArrays, IndexMeta, block_of, write_entry
from bvllm.index.key import IndexKey
from bvllm.index.mapped import FEATURES_NAME, MAP_PREFIX, SECONDS_NAME, meta_text

JOURNAL, TEMPORARY = ".partial", ".tmp"


def entry_blocks(
    dtype: str,
    channels: int,
    seconds: NDArray[Any],
    features: Iterable[bytes | memoryview],
    frame_map: FrameMapArrays,
) -> list[Block]:
    """The tensors of an entry; `features` are the bytes of (T, C), in pieces.

    Raises:
        ValueError: the frame map holds anything but plain numbers.
    """
    maps = [block_of(MAP_PREFIX + name, array) for name, array in frame_map.items()]
    times = block_of(SECONDS_NAME, seconds)
    return [Block(FEATURES_NAME, dtype, (len(seconds), channels), features), times, *maps]


def commit(folder: Path, key: IndexKey, meta: IndexMeta, blocks: Iterable[Block]) -> Path:
    """Write an entry; to be called by the holder of its journal only.

    When this returns, the entry survives a power cut; when it raises, or the process is killed, whatever was
    there before is still there.

    Raises:
        OSError: the disk does not take it.
    """
    temporary, target = folder / (key.name + TEMPORARY), folder / (key.name + SUFFIX)
    with disk.whole_file(temporary, target) as descriptor:
        write_entry(descriptor, key, meta_text(meta), blocks)
    return target
