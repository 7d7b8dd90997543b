"""`bvllm index`: encode videos once, so that every question about them comes quickly."""

import math
import signal
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from bvllm.cli.console import (
    Stopped,
    Unanswerable,
    check_fps,
    check_part,
    isolate_decoding,
    note,
    progress_bar,
    show,
    silence_libraries,
    wrong_use,
)
from bvllm.cli.index_upkeep import IndexOption, index_folder, print_check, print_list, print_prune, size
from bvllm.cli.json_output import JsonOption, JsonTarget, replaces_text, write
from bvllm.cli.options import (
    EndOption,
    FpsOption,
    ModelOption,
    PipelineOption,
    ScorerOption,
    StartOption,
    TrustOption,
)

if TYPE_CHECKING:
    from bvllm.index import IndexFolder, TowerEncoder


@dataclass(frozen=True)
class IndexRequest:
    """What to index, and how."""

    videos: tuple[Path, ...]
    model: str
    scorer: str | None
    pipeline: str | None
    fps: float
    start: float
    end: float | None
    workers: int | None
    json_target: JsonTarget | None


@dataclass(frozen=True)
class Outcome:
    """What became of one video."""

    path: str
    state: Literal["indexed", "ready", "failed"]
    frames: int = 0
    seconds: float = 0.0
    bytes: int = 0
    took: float = 0.0
    error: str | None = None
    warnings: tuple[str, ...] = ()


def index(
    paths: Annotated[
        list[str] | None,
        typer.Argument(metavar="VIDEO|FOLDER...", help="Videos, or folders of them.", show_default=False),
    ] = None,
    where: IndexOption = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Threads; as many as there are cores if left out.")
    ] = None,
    fps: FpsOption = 1.0,
    start: StartOption = 0.0,
    end: EndOption = None,
    model: ModelOption = "nano",
    scorer: ScorerOption = None,
    pipeline: PipelineOption = None,
    trust_remote_code: TrustOption = False,
    show: Annotated[bool, typer.Option("--list", help="List what is indexed, the last used first.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Verify every byte of the index.")] = False,
    prune: Annotated[
        bool, typer.Option("--prune", help="Remove what is damaged, unfinished or above the size limit.")
    ] = False,
    max_size: Annotated[
        float | None,
        typer.Option(
            metavar="GB",
            help="Above it, what was not used for longest is removed.",
            show_default="$BVLLM_INDEX_MAX_GB, else 10",
        ),
    ] = None,
    json_target: JsonOption = None,
) -> None:
    """Encode videos once, so that every question about them is answered quickly."""
    from bvllm.inference.model_name import resolve_model
    from bvllm.video.videos_in import videos_of

    with wrong_use():
        _check_words(paths or [], [show, check, prune], fps, max_size)
        check_part(start, end)
        videos = tuple(videos_of(paths or [], note))
        if videos:
            resolve_model(model)
    silence_libraries()
    folder = index_folder(where, max_size)
    if show:
        print_list(folder, json_target)
    elif check:
        print_check(folder, json_target)
    elif prune:
        print_prune(folder, json_target)
    else:
        chooses = (model, scorer, pipeline)
        _index(IndexRequest(videos, *chooses, fps, start, end, workers, json_target), folder)


def _check_words(paths: list[str], modes: list[bool], fps: float, max_size: float | None) -> None:
    check_fps(fps)
    if max_size is not None and not (max_size >= 0 and math.isfinite(max_size)):
        raise ValueError(f"--max-size must be at least 0, got {max_size:g}: give a number of gigabytes")
    if sum(modes) > 1:
        raise ValueError("--list, --check and --prune must stand alone, got several: use one of them")
    if paths and any(modes):
        raise ValueError(
            f"--list, --check and --prune must come without videos, got {paths[0]!r}: leave it out"
        )
    if not paths and not any(modes):
        raise ValueError("videos must be named, got none: bvllm index VIDEO, or --list, --check or --prune")


def _index(request: IndexRequest, folder: "IndexFolder") -> None:
    from bvllm.index import IndexFailure, TowerEncoder
    from bvllm.inference.loading import ModelError, load_model

    outcomes: list[Outcome] = []
    try:
        isolate_decoding()
        with wrong_use():
            loaded = load_model(request.model, scorer=request.scorer, pipeline=request.pipeline)
        encoder = TowerEncoder.of(loaded)
        for number in range(len(request.videos)):
            outcomes.append(_index_one(request, number, folder, encoder))
            _tell(outcomes[-1], request)
    except KeyboardInterrupt:
        how_far = f"interrupted, {len(outcomes)} of {len(request.videos)} videos are done"
        raise Stopped(f"{how_far}: the same command goes on from here", signal.SIGINT) from None
    except (ModelError, IndexFailure) as error:
        raise Unanswerable(str(error)) from error
    if request.json_target is not None:
        found = {"index": str(folder.path), "videos": [asdict(outcome) for outcome in outcomes]}
        write(request.json_target, found)
    failed = [outcome for outcome in outcomes if outcome.state == "failed"]
    if failed:
        alone = len(outcomes) == 1 and failed[0].error is not None
        raise Unanswerable(
            str(failed[0].error) if alone else f"{len(failed)} of {len(outcomes)} videos failed"
        )


def _index_one(request: IndexRequest, number: int, folder: "IndexFolder", encoder: "TowerEncoder") -> Outcome:
    from bvllm.common.text import shown
    from bvllm.index import HeldElsewhere, index_video
    from bvllm.video import VideoError

    path, started = request.videos[number], time.time()
    title = f"{number + 1}/{len(request.videos)} {shown(path.name)}"
    try:
        with progress_bar(remaining=True) as bar:
            tell = None if bar is None else lambda _, done, total: bar(title, done, total)
            found = index_video(
                path,
                folder,
                encoder,
                fps=request.fps,
                start=request.start,
                end=request.end,
                workers=request.workers,
                progress=tell,
            )
    except (VideoError, HeldElsewhere) as error:
        return Outcome(str(path), "failed", error=str(error))
    state: Literal["indexed", "ready"] = "ready" if found.meta.made_at < started else "indexed"
    numbers = len(found), found.meta.duration, found.bytes, time.time() - started
    return Outcome(str(path), state, *numbers, warnings=tuple(map(str, found.meta.report.warnings)))


def _tell(outcome: Outcome, request: IndexRequest) -> None:
    """A line for each video; what is wrong with one of several, or odd about it, goes to stderr."""
    from bvllm.common.text import format_clock, shown

    name = shown(outcome.path)
    if outcome.state == "failed":
        if len(request.videos) > 1:
            note(f"{name}: {outcome.error}")
        return
    if outcome.warnings:
        note(f"{name}: {'; '.join(outcome.warnings)}")
    if not replaces_text(request.json_target):
        took = f" in {outcome.took:.1f} s" if outcome.state == "indexed" else ""
        frames = "1 frame" if outcome.frames == 1 else f"{outcome.frames} frames"
        line = f"{outcome.state:<7} {name}: {frames} of {format_clock(outcome.seconds)}"
        show(f"{line}, {size(outcome.bytes)}{took}")
