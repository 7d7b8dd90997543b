"""`bvllm search`: find where in a collection of videos something is shown."""

import shlex
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bvllm.cli.console import (
    Unanswerable,
    WrongUse,
    allow_many_files,
    check_fps,
    check_part,
    isolate_decoding,
    note,
    progress_bar,
    silence_libraries,
    unwritten,
    wrong_use,
)
from bvllm.cli.index_upkeep import IndexOption, index_folder
from bvllm.cli.json_output import JsonOption, deliver
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
    from bvllm.asking.find import SearchResult
    from bvllm.index import IndexedVideo, IndexFolder, TowerEncoder


@dataclass(frozen=True)
class SearchRequest:
    """The command line, parsed."""

    paths: tuple[str, ...]
    files: tuple[Path, ...]
    query: str
    top: int
    fps: float
    part: tuple[float, float | None]
    model: str
    scorer: str | None
    pipeline: str | None
    index: Path | None
    index_missing: bool
    evidence: Path | None


@dataclass(frozen=True)
class Searched:
    """The files that were searched, and those that were not, with the reason."""

    files: tuple[Path, ...]
    left_out: dict[Path, str]


def search(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="VIDEO|FOLDER... QUERY",
            help="Videos, or folders of them; then what is to be seen.",
            show_default=False,
        ),
    ],
    top: Annotated[int, typer.Option(min=1, help="Moments to show at most.")] = 10,
    where: IndexOption = None,
    fps: FpsOption = 1.0,
    start: StartOption = 0.0,
    end: EndOption = None,
    model: ModelOption = "nano",
    scorer: ScorerOption = None,
    pipeline: PipelineOption = None,
    trust_remote_code: TrustOption = False,
    no_index_missing: Annotated[
        bool, typer.Option("--no-index-missing", help="Refuse videos that are not indexed yet.")
    ] = False,
    exact: Annotated[
        bool,
        typer.Option("--exact", help="Search is always exact: kept for one release.", hidden=True),
    ] = False,
    evidence: Annotated[
        Path | None,
        typer.Option(metavar="FILE.html|FILE.png", help="Write the frames of the moments here."),
    ] = None,
    json_target: JsonOption = None,
) -> None:
    """Find the moments that show something, in one video or many."""
    from bvllm.common.files import check_evidence_path
    from bvllm.inference.model_name import resolve_model
    from bvllm.video.videos_in import videos_of

    with wrong_use():
        if len(words) < 2:
            raise ValueError(
                f"search must be given videos and then words, got {words[0]!r} alone: add the other"
            )
        if not words[-1].strip():
            raise ValueError("query must hold words, got nothing: write what is to be seen")
        check_fps(fps)
        check_part(start, end)
        if evidence is not None:
            check_evidence_path(evidence)
        resolve_model(model)
        files = tuple(videos_of(words[:-1], note))
    silence_libraries()
    request = SearchRequest(
        tuple(words[:-1]),
        files,
        words[-1],
        top,
        fps,
        (start, end),
        model,
        scorer,
        pipeline,
        where,
        not no_index_missing,
        evidence,
    )
    searched, found = _work(request)
    deliver(json_target, lambda: _text(searched.files, found), lambda: _as_object(request, searched, found))


def _work(request: SearchRequest) -> tuple[Searched, "SearchResult"]:
    """The files that were searched, and what was found in them."""
    from bvllm.asking.find import find_moments
    from bvllm.asking.query import UnknownWords, query_encoder
    from bvllm.asking.search_evidence import write_search_evidence
    from bvllm.index import TowerEncoder
    from bvllm.inference.loading import ModelError, load_model
    from bvllm.video import VideoError

    folder = index_folder(request.index)
    allow_many_files()
    try:
        isolate_decoding()
        with wrong_use():
            loaded = load_model(request.model, scorer=request.scorer, pipeline=request.pipeline)
        videos, left_out = _entries(request, folder, TowerEncoder.of(loaded))
        tower = query_encoder(request.model, loaded)
        found = find_moments(list(videos.values()), request.query, loaded, tower, top=request.top)
        if tower is None:
            note("this model has no word tower: frames are ranked by its selector, which is slower")
        if found.unknown:
            note(f"words that the model does not know: {', '.join(found.unknown)}")
        kept = tuple(videos)
        if request.evidence is not None:
            with unwritten(request.evidence):
                write_search_evidence(request.evidence, request.query, found, list(videos.values()), kept)
    except UnknownWords as error:
        raise WrongUse(str(error)) from error
    except (VideoError, ModelError, OSError) as error:
        raise Unanswerable(str(error)) from error
    return Searched(kept, left_out), found


def _entries(
    request: SearchRequest, folder: "IndexFolder", encoder: "TowerEncoder"
) -> "tuple[dict[Path, IndexedVideo], dict[Path, str]]":
    """The entry of every file, and why there is none; one video in several files is searched once."""
    from bvllm.common.text import shown
    from bvllm.index import IndexFailure, find_indexed, index_video
    from bvllm.video import VideoError

    found: dict[Path, IndexedVideo] = {}
    left_out: dict[Path, str] = {}
    first: dict[str, Path] = {}
    missing = copies = 0
    last = ""
    start, end = request.part
    for file in request.files:
        try:
            entry = find_indexed(file, folder, encoder, fps=request.fps, start=start, end=end)
            if entry is None and request.index_missing:
                with progress_bar() as bar:
                    entry = index_video(
                        file, folder, encoder, fps=request.fps, start=start, end=end, progress=bar
                    )
        except (VideoError, IndexFailure) as error:
            if len(request.files) == 1:
                raise
            left_out[file] = last = str(error)
            note(f"{shown(file)}: {error}")
            continue
        if entry is None:
            missing += 1
        elif entry.key.name in first:
            copies += 1
            left_out[file] = f"the same video as {shown(first[entry.key.name])}"
        else:
            found[file], first[entry.key.name] = entry, file
            if entry.meta.report.warnings:
                note(f"{shown(file)}: {'; '.join(map(str, entry.meta.report.warnings))}")
    if missing:
        count = "1 video is" if missing == 1 else f"{missing} videos are"
        words = [shlex.quote(shown(path)) for path in request.paths]
        words += [] if request.index is None else ["--index", shlex.quote(shown(request.index))]
        words += [] if request.fps == 1.0 else ["--fps", f"{request.fps:g}"]
        words += [] if start == 0 else ["--start", f"{start:g}"]
        words += [] if end is None else ["--end", f"{end:g}"]
        words += [] if request.scorer is None else ["--scorer", shlex.quote(shown(request.scorer))]
        words += [] if request.pipeline is None else ["--pipeline", request.pipeline]
        words += [] if request.model == "nano" else ["--model", shlex.quote(shown(request.model))]
        raise Unanswerable(f"{count} not indexed yet: run `bvllm index {' '.join(words)}` first")
    if not found:
        raise Unanswerable(f"none of the {len(request.files)} videos can be read; the last: {last}")
    if copies:
        note(f"{copies} of the {len(request.files)} files hold a video that another holds as well")
    return found, left_out


def _text(kept: tuple[Path, ...], found: "SearchResult") -> str:
    """One moment a line: score, time, file."""
    from bvllm.common.text import format_clock, shown

    return "\n".join(
        f"{moment.score:6.2f}  {format_clock(moment.seconds):>7}  {shown(kept[moment.video])}"
        for moment in found.moments
    )


def _as_object(request: SearchRequest, searched: Searched, found: "SearchResult") -> dict[str, object]:
    from bvllm.common.text import format_clock

    moments = [
        {
            **asdict(moment),
            "video": str(searched.files[moment.video]),
            "time": format_clock(moment.seconds),
        }
        for moment in found.moments
    ]
    start, end = request.part
    settings = {
        "query": request.query,
        "fps": request.fps,
        "start": start,
        "end": end,
        "model": request.model,
        "scorer": request.scorer,
        "pipeline": request.pipeline,
        "top": request.top,
    }
    evidence = None if request.evidence is None else str(request.evidence)
    return {
        "moments": moments,
        "how": found.how,
        "unknown": list(found.unknown),
        "frames": found.frames,
        "exact": True,
        "videos": len(searched.files),
        "left_out": [{"video": str(file), "why": why} for file, why in searched.left_out.items()],
        "command": {**settings, "evidence": evidence},
    }
