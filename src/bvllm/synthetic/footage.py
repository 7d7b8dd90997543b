"""Cut haystacks from real footage: a folder of clips, looped to any length."""

from functools import cache, lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bvllm.video import SamplingPlan, VideoError, read_video

# Frames a second kept of a clip: slow enough to hold in memory, fast enough to look like video.
KEPT_RATE = 4.0
KEPT_SECONDS = 30
CUT_SECONDS = 12.0  # length of a piece
CLIPS_AT_A_TIME = 4  # that a process holds: some 30 MB each at the usual size
SUFFIXES = {".mp4", ".mkv", ".webm", ".mov", ".avi", ".ts", ".m4v", ".mpg", ".gif"}


class FootageHaystack:
    """Pieces of real clips in random order, each from a random place in its clip.

    Args:
        folder: holds the clips; files that cannot be read are passed over.
        seed: decides the order.
        size: (width, height) in pixels.

    Raises:
        ValueError: no clip in the folder can be read.
    """

    def __init__(self, folder: Path, seed: int, size: tuple[int, int]) -> None:
        if not folder.is_dir():
            raise ValueError(
                f"haystack must be a folder of video clips, got {folder}: create it or name another"
            )
        self.seed = seed
        self.size = size
        self.clips = [path for path in sorted(folder.iterdir()) if _is_readable(path)]
        if not self.clips:
            raise ValueError(
                f"haystack must hold at least one readable clip, got none in {folder}: add an mp4"
            )

    def frame(self, time: float) -> Image.Image:
        """The picture at `time`, the same in every process."""
        piece = int(time // CUT_SECONDS)
        rng = np.random.default_rng((self.seed, 23, piece))
        clip = _load(self.clips[int(rng.integers(len(self.clips)))], self.size)
        start = float(rng.uniform(0, len(clip) / KEPT_RATE))
        within = time - piece * CUT_SECONDS
        # To the end and back: no jump where the clip repeats.
        place = int((start + within) * KEPT_RATE) % (2 * len(clip))
        return Image.fromarray(clip[place if place < len(clip) else 2 * len(clip) - 1 - place])


@cache
def _is_readable(path: Path) -> bool:
    """Whether it is a video of which something can be shown; asked once a process."""
    if path.suffix.lower() not in SUFFIXES:
        return False
    try:
        with read_video(path, SamplingPlan(fps=KEPT_RATE), size=(16, 16), chunk=1) as stream:
            return next(iter(stream), None) is not None
    except VideoError:
        return False


@lru_cache(maxsize=CLIPS_AT_A_TIME)
def _load(path: Path, size: tuple[int, int]) -> list[NDArray[np.uint8]]:
    """The first half minute of a clip as frames of the wanted size; of a damaged one, what comes before."""
    frames: list[NDArray[np.uint8]] = []
    try:
        with read_video(path, SamplingPlan(fps=KEPT_RATE), size=(size[1], size[0])) as stream:
            for chunk in stream:
                frames += [f.permute(1, 2, 0).numpy() for f in chunk.pixels]
                if len(frames) >= KEPT_RATE * KEPT_SECONDS:
                    break
    except VideoError:
        if not frames:
            raise  # it could be read a moment ago
    return frames
