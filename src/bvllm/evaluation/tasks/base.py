"""Define what a benchmark is: where its questions come from, and what each of them holds."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bvllm.common.text import local_path
from bvllm.video.part_words import VideoPart

Reader = Callable[[Path, Path | None], list["Item"]]


@dataclass(frozen=True)
class Item:
    """One multiple-choice question about one video.

    Attributes:
        id: stable; never a row number.
        video: the file, inside the media folder.
        seconds: length of the video as the benchmark states it, for the table by duration.
        question: without its options; alone decides which frames are selected.
        options: without their letters.
        answer: index of the right option; None where the benchmark offers no right one, so that none counts.
        task: the benchmark's own category, a row of the table.
        needles: (start, end) in seconds of what must be found; empty where the benchmark does not say.
        split: of the benchmark: one run asks one split.
        subtitles: an SRT or VTT file inside the media folder.
        part: which part of the video is asked about, and how it is sampled; all of it by default.
    """

    id: str
    video: Path
    seconds: float
    question: str
    options: tuple[str, ...]
    answer: int | None
    task: str
    needles: tuple[tuple[float, float], ...] = ()
    split: str = "test"
    subtitles: Path | None = None
    part: VideoPart = VideoPart()  # noqa: RUF009 - frozen


@dataclass(frozen=True)
class Task:
    """A benchmark.

    Attributes:
        name: for `bvllm eval --task`.
        source: address of its paper, or "ours".
        layout: what must lie in the folder, in one line, for errors and the docs.
        read: (data, media root or None) -> items; refuses what is not there before anything is asked.
    """

    name: str
    source: str
    layout: str
    read: Reader


def video_inside(root: Path, name: str, item: str, what: str = "video") -> Path:
    """The file of an item's video, or of what it is called, which must lie inside a folder in any case.

    Raises:
        ValueError: the name leads out of the folder, by itself or through a link.
        FileNotFoundError: there is no such file.
    """
    path = root / local_path(name)
    real, inside = os.path.realpath(path), os.path.realpath(root)
    if os.path.commonpath([real, inside]) != inside:
        raise ValueError(
            f"{what} of {item} must lie inside {root}, got {name!r}: move it there, or name the folder of "
            "the videos with --media-root"
        )
    if not path.is_file():
        raise FileNotFoundError(
            f"{what} of {item} must be a file, got {path}: bring it back, or make the world again"
        )
    return path
