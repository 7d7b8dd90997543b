"""Search vectors of frames: exact cosines, or a vector library above a million. See docs/search.md."""

from bvllm.index.search.moments import Moment
from bvllm.index.search.shelf import EXACT_FRAMES, LibraryShelf, SearchWarning, shelf_beside

__all__ = [
    "EXACT_FRAMES",
    "LibraryShelf",
    "Moment",
    "SearchWarning",
    "shelf_beside",
]
