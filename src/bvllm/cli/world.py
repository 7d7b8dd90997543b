"""`bvllm world`: make the synthetic needle-in-a-haystack video world."""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from bvllm.cli.console import (
    Unanswerable,
    WrongUse,
    example,
    progress_bar,
    show,
    silence_libraries,
    wrong_use,
)

world = typer.Typer(help="Videos with questions, made from a seed.", add_completion=False)


@world.callback()
def root() -> None:
    """Videos with questions, made from a seed."""


@world.command(
    "make", epilog=example("bvllm world make --out world --split test --count 4 --seconds 8..600 --seed 7")
)
def make(
    out: Annotated[
        Path, typer.Option(help="Folder for SPLIT.jsonl and videos/, or pictures/.", file_okay=False)
    ],
    split: Annotated[
        Literal["train", "val", "test"], typer.Option(help="Splits share no needle combinations.")
    ],
    count: Annotated[int, typer.Option(min=1, help="How many videos, or pictures.")],
    seconds: Annotated[
        str | None, typer.Option(help="Duration of each video: 60, or a range as 8..3600.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Decides everything.")] = 0,
    detail: Annotated[
        Literal["plain", "busy"],
        typer.Option(help="One needle at a time, or scenes of many things in every frame."),
    ] = "plain",
    tasks: Annotated[
        str | None,
        typer.Option(
            help="Tasks apart by commas; duration, beside, changed, speed and description only if named."
        ),
    ] = None,
    haystack: Annotated[
        Path | None,
        typer.Option(help="Folder of real videos to hide needles in.", exists=True, file_okay=False),
    ] = None,
    pictures: Annotated[
        bool, typer.Option("--pictures", help="Pictures of busy scenes in place of videos; no --seconds.")
    ] = False,
) -> None:
    """Make videos with needles in them, and questions about the needles."""
    with wrong_use():
        if pictures and (seconds is not None or detail == "plain"):
            given = f"--detail {detail}" + (f" --seconds {seconds}" if seconds is not None else "")
            raise ValueError(
                f"--pictures must stand beside --detail busy and no --seconds, got {given}: each is one scene"
            )
        if seconds is None and not pictures:
            raise ValueError("--seconds must say how long each video is, got none: pass 60, or 8..3600")
        span = None if seconds is None else duration_range(seconds)
        names = [name.strip() for name in tasks.split(",") if name.strip()] if tasks is not None else None
        if names == []:
            raise ValueError(f"--tasks must name a task, got {tasks!r}: leave it out for all tasks")
    silence_libraries()
    from bvllm.synthetic import make_pictures, make_world
    from bvllm.video import VideoError

    maker: Callable[..., Path] = make_pictures
    if span is not None:
        maker = partial(make_world, seconds=span, detail=detail)
    try:
        with progress_bar() as bar:
            what = "make pictures" if pictures else "make videos"
            tell = None if bar is None else lambda done, total: bar(what, done, total)
            path = maker(
                out, split=split, count=count, seed=seed, tasks=names, haystack=haystack, progress=tell
            )
    except ValueError as error:
        raise WrongUse(str(error)) from error
    except (VideoError, OSError) as error:
        raise Unanswerable(str(error)) from error
    show(path)


def duration_range(text: str) -> tuple[float, float]:
    """Seconds as `60` or `8..3600`.

    Example:
        >>> duration_range("8..3600"), duration_range("60")
        ((8.0, 3600.0), (60.0, 60.0))
    """
    first, dots, last = text.partition("..")
    try:
        low = float(first)
        high = float(last) if dots else low
    except ValueError:
        low = high = math.nan
    if not 0 < low <= high < math.inf:
        raise ValueError(
            f"--seconds must be a number above 0 or a range as 8..3600, got {text!r}: write LOW..HIGH"
        )
    return low, high
