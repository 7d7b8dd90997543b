"""Where in a collection of videos something is shown. See docs/search.md."""

from bvllm.app.search.find import Found, find_moments
from bvllm.app.search.moments import Moment
from bvllm.app.search.words import UnknownWords

__all__ = ["Found", "Moment", "UnknownWords", "find_moments"]
