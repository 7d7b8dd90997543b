"""Where the index lies, if nobody says otherwise."""

import os
from pathlib import Path


def default_folder() -> Path:
    """`$BVLLM_INDEX`, else `bvllm/index` in the user's cache folder (`$XDG_CACHE_HOME`, or `~/.cache`)."""
    chosen = os.environ.get("BVLLM_INDEX")
    if chosen:
        return Path(chosen)
    cache = os.environ.get("XDG_CACHE_HOME", "")
    # The specification of XDG has relative paths ignored.
    base = Path(cache) if os.path.isabs(cache) else Path.home() / ".cache"
    return base / "bvllm" / "index"
