"""Where the index lies and how large it may become, if nobody says otherwise."""

import math
import os
from pathlib import Path

GIGABYTE = 1e9
DEFAULT_MAX_BYTES = 10_000_000_000


def default_folder() -> Path:
    """`$BVLLM_INDEX`, else `bvllm/index` in the user's cache folder (`$XDG_CACHE_HOME`, or `~/.cache`)."""
    chosen = os.environ.get("BVLLM_INDEX")
    if chosen:
        return Path(chosen).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME", "")
    # The specification of XDG has relative paths ignored.
    base = Path(cache) if os.path.isabs(cache) else Path.home() / ".cache"
    return base / "bvllm" / "index"


def default_max_bytes() -> int:
    """`$BVLLM_INDEX_MAX_GB`, else 10 GB: the same for every command, since each may remove what is above it.

    Errors:
        ValueError where the variable holds no size.
    """
    said = os.environ.get("BVLLM_INDEX_MAX_GB")
    if not said:
        return DEFAULT_MAX_BYTES
    try:
        size = float(said)
    except ValueError:
        size = math.nan
    if not 0 <= size < math.inf:
        raise ValueError(
            f"BVLLM_INDEX_MAX_GB must be a number of gigabytes, got {said!r}: set it to one, or unset it"
        )
    return round(size * GIGABYTE)
