"""Define the interface of a vector library: take rows in blocks, name the rows nearest to a query.

Which rows those are may be a guess; what they score is computed by us, exactly. So a library may compress as
it likes, and another one is another small class.
"""

import sys
from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

INSTALL = "pip install 'bvllm[search]'"


class DamagedLibrary(Exception):
    """A library's file is not what its name says; the message is one clause."""


class MissingLibrary(Exception):
    """No vector library can be used here; the message says what to do about it."""


class Built(Protocol):
    """Rows that a library took."""

    def nearest(self, query: NDArray[np.float32], count: int) -> NDArray[np.int64]:
        """Numbers of about the `count` rows with the largest inner products with (C,), in any order.

        Each once; fewer where the library cannot tell the rest apart.
        """

    def to_bytes(self) -> NDArray[np.uint8]:
        """What `VectorLibrary.read` makes the same of again."""


class VectorLibrary(Protocol):
    """A way to find rows quickly.

    Attributes:
        name: of the library and its layout; a file of another name is not read.
    """

    name: str

    def build(self, sample: NDArray[np.float32], blocks: Iterator[NDArray[np.float32]]) -> Built:
        """Take all rows, given in blocks (n, C) of unit length; `sample` (m, C) are some of them.

        Raises:
            RuntimeError, MemoryError: it cannot.
        """

    def read(self, data: NDArray[np.uint8], rows: int, channels: int) -> Built:
        """What was written, with so many rows of so many channels.

        Raises:
            DamagedLibrary: it is something else.
        """


LoadLibrary = Callable[[], VectorLibrary]


def load_library() -> VectorLibrary:
    """The vector library of the extra `search`.

    Raises:
        MissingLibrary: it is not installed, or cannot live in one process with torch: on macOS both
        bring an OpenMP of their own, and the second to start ends the process
        (https://github.com/faiss-wheels/faiss-wheels/issues/73).
    """
    if sys.platform == "darwin":
        raise MissingLibrary("the vector library does not run beside torch on macOS")
    from bvllm.index.search.faiss_library import FaissLibrary

    try:
        return FaissLibrary()
    except ImportError as error:
        raise MissingLibrary(f"`{INSTALL}` brings a faster way") from error
