"""List the videos in a folder that a person named."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from bvllm.common.text import local_path, shown

# What a video is called. A file that is named itself is taken whatever it is called.
SUFFIXES = frozenset(
    ".mp4 .m4v .mov .mkv .webm .avi .ts .m2ts .mts .mpg .mpeg .flv .wmv .asf .ogv .3gp .3g2 .ivf .gif .h264 "
    ".hevc".split()
)


def videos_in(path: str | Path, tell: Callable[[str], None] = lambda line: None) -> list[Path]:
    """The videos of a folder and the folders below it, by name; a file stands for itself.

    Links to folders are not followed, hidden files and folders are passed over; `tell` hears of folders that
    cannot be read.

    Example:
        >>> videos_in("holiday.mp4")
        [PosixPath('holiday.mp4')]
    """
    if not os.path.isdir(path):
        return [Path(path)]
    found = []

    def closed(error: OSError) -> None:
        tell(f"folder {shown(error.filename)} is left out: {error.strerror}")

    for folder, below, names in os.walk(path, onerror=closed):
        below[:] = sorted(name for name in below if not name.startswith("."))
        found += [
            Path(folder, name)
            for name in sorted(names)
            if Path(name).suffix.lower() in SUFFIXES and not name.startswith(".")
        ]
    return found


def videos_of(paths: Sequence[str | Path], tell: Callable[[str], None] = lambda line: None) -> list[Path]:
    """The videos of several files and folders, each once, in the order given; `file://` addresses, too.

    Raises:
        ValueError: a folder holds no video.
    """
    found: dict[Path, None] = {}
    for given in paths:
        path = local_path(given) if isinstance(given, str) else given
        videos = videos_in(path, tell)
        if not videos:
            raise ValueError(
                f"folder must hold videos, got {str(path)!r} without one: name a folder with files like .mp4"
            )
        found.update(dict.fromkeys(videos))
    return list(found)
