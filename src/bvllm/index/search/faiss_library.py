"""Wrap faiss: 4 bits per two channels of every row, scanned in registers.

A scan reads a sixteenth of what exact search reads, and has no cells that a query could miss: words and
pictures lie apart in a CLIP-like space, where graphs and cells, made for queries like the rows, lose most.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bvllm.index.search.library import DamagedLibrary

if TYPE_CHECKING:
    import faiss

# Channels that share one code of 4 bits. With 2, the ten best of 3 million are among those proposed; see
# docs/search.md. With 4, 256 proposed of 400,000 held 7 of the ten, with 2 more than 9.
CHANNELS_PER_CODE = 2
CODE_BITS = 4


class FaissLibrary:
    """`VectorLibrary` on `faiss.IndexPQFastScan`; see there.

    Raises:
        ImportError: faiss is not installed.
    """

    name = f"faiss PQ fast scan, {CHANNELS_PER_CODE} channels in {CODE_BITS} bits"

    def __init__(self) -> None:
        import faiss  # noqa: F401 - now rather than when half of the work is done

    def build(self, sample: NDArray[np.float32], blocks: Iterator[NDArray[np.float32]]) -> "FaissRows":
        """Learn the codes from the sample, then take the blocks one after another."""
        import faiss

        sample = _whole_codes(sample)
        channels = sample.shape[1]
        index = faiss.IndexPQFastScan(
            channels, channels // CHANNELS_PER_CODE, CODE_BITS, faiss.METRIC_INNER_PRODUCT
        )
        if len(sample) < 2**CODE_BITS:  # as many rows as there are values of a code, or faiss refuses
            sample = np.resize(sample, (2**CODE_BITS, channels))
        with _one_thread():
            index.train(sample)
            for block in blocks:
                index.add(_whole_codes(block))
        return FaissRows(index)

    def read(self, data: NDArray[np.uint8], rows: int, channels: int) -> "FaissRows":
        """What `to_bytes` gave."""
        import faiss

        try:
            index = faiss.deserialize_index(data)
        except (RuntimeError, MemoryError, ValueError, AssertionError) as error:
            raise DamagedLibrary("faiss cannot read it") from error
        width = channels + channels % CHANNELS_PER_CODE
        if not isinstance(index, faiss.IndexPQFastScan) or (index.ntotal, index.d) != (rows, width):
            raise DamagedLibrary("it does not hold the rows that it names")
        return FaissRows(index)


class FaissRows:
    """`Built` on a faiss index."""

    def __init__(self, index: "faiss.IndexPQFastScan") -> None:
        self._index = index

    def nearest(self, query: NDArray[np.float32], count: int) -> NDArray[np.int64]:
        """See `Built`; fewer than `count` where the codes tell nothing of the rest."""
        [rows] = self._index.search(_whole_codes(query[None]), min(count, self._index.ntotal))[1]
        return rows[rows >= 0]  # faiss fills up with -1

    def to_bytes(self) -> NDArray[np.uint8]:
        """See `Built`."""
        import faiss

        return faiss.serialize_index(self._index)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let faiss work on one thread: beside other work, threads that wait for each other take far longer."""
    import faiss

    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def _whole_codes(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows with as many channels as codes hold: a channel of zeros changes no product."""
    odd = rows.shape[1] % CHANNELS_PER_CODE
    return np.ascontiguousarray(np.pad(rows, ((0, 0), (0, odd))) if odd else rows)
