"""Where in a collection of videos something is shown. See docs/search.md."""

from bvllm.app.search.find import Found, find_moments
from bvllm.app.search.moments import Moment
from bvllm.app.search.shelf import EXACT_FRAMES, LibraryShelf, SearchWarning, shelf_beside
from bvllm.app.search.words import UnknownWords

__all__ = [
    "EXACT_FRAMES",
    "Found",
    "LibraryShelf",
    "Moment",
    "SearchWarning",
    "UnknownWords",
    "find_moments",
    "shelf_beside",
]
