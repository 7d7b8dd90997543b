"""Score vectors of frames by exact cosines, and group them into moments. See docs/search.md."""

from bvllm.index.search.moments import Moment

__all__ = ["Moment"]
