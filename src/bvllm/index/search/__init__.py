"""Where in a collection of videos something is shown. See docs/search.md."""

from bvllm.index.search.moments import Moment
from bvllm.index.search.shelf import EXACT_FRAMES, LibraryShelf, SearchWarning, shelf_beside

__all__ = [
    "EXACT_FRAMES",
    "LibraryShelf",
    "Moment",
    "SearchWarning",
    "shelf_beside",
]
