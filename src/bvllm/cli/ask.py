"""`bvllm ask`: answer a question about a video, with what it cost and what it rests on."""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from bvllm.cli.console import (
    Unanswerable,
    WrongUse,
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
    AUTO,
    AutoBudgetOption,
    EndOption,
    ForceOption,
    FpsOption,
    FramesOption,
    MergeFramesOption,
    MergeTokensOption,
    ModelOption,
    PipelineOption,
    PolicyOption,
    PruneLayersOption,
    SampleTokensOption,
    ScorerOption,
    SeedOption,
    SelectFramesOption,
    SelectOption,
    StartOption,
    TrustOption,
    VideoArgument,
    method_names,
    tokens_or_auto,
)
from bvllm.common.reply import ANSWER_TOKENS
from bvllm.common.text import local_path

if TYPE_CHECKING:
    from bvllm.common.subtitles import Cue
    from bvllm.common.text import Question
    from bvllm.inference.auto_budget import AutoBudget
    from bvllm.inference.encode import EncodedVideo, Progress
    from bvllm.inference.model import VideoModel
    from bvllm.inference.results import Answer
    from bvllm.methods.names import MethodNames
    from bvllm.types import Budget


@dataclass(frozen=True)
class AskRequest:
    """The command line, parsed."""

    videos: tuple[str, ...]
    question: "Question"
    budget: "int | Literal['auto'] | None"
    steps: Path | None
    frames: int | None
    fps: float
    start: float
    end: float | None
    model: str
    scorer: str | None
    pipeline: str | None
    methods: "MethodNames"
    subtitles: "tuple[Cue, ...]"
    max_new_tokens: int
    threads: int | None
    evidence: Path | None
    index: Path | None
    use_index: bool
    stock_tower: bool


StepsOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="What `bvllm calibrate` wrote, for --budget auto; the file beside the model's weights if left "
        "out.",
        exists=True,
        dir_okay=False,
        show_default=False,
    ),
]
NoIndexOption = Annotated[bool, typer.Option("--no-index", help="Neither read nor write the index.")]
AlsoOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FILE",
        help="A further video or picture, shown after the first; repeat it for each. See `bvllm models`.",
        show_default=False,
        parser=local_path,
    ),
]
StockTowerOption = Annotated[
    bool, typer.Option("--stock-tower", help="Encode frames with transformers' own tower: slower.")
]


def ask(
    video: VideoArgument,
    question: Annotated[
        str, typer.Argument(metavar="QUESTION", help="What to ask about it.", show_default=False)
    ],
    also: AlsoOption = None,
    budget: AutoBudgetOption = None,
    steps: StepsOption = None,
    frames: FramesOption = None,
    fps: FpsOption = 1.0,
    start: StartOption = 0.0,
    end: EndOption = None,
    model: ModelOption = "nano",
    scorer: ScorerOption = None,
    pipeline: PipelineOption = None,
    trust_remote_code: TrustOption = False,
    select_frames: SelectFramesOption = None,
    merge_frames: MergeFramesOption = None,
    sample_tokens: SampleTokensOption = None,
    merge_tokens: MergeTokensOption = None,
    tokens_policy: PolicyOption = None,
    prune_layers: PruneLayersOption = None,
    seed: SeedOption = 0,
    force: ForceOption = False,
    select: SelectOption = None,
    option: Annotated[
        list[str] | None,
        typer.Option(help="An option to choose from; repeat it for each.", show_default=False),
    ] = None,
    subtitles: Annotated[
        Path | None,
        typer.Option(metavar="FILE.srt|FILE.vtt", help="Text beside the video.", show_default=False),
    ] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Length limit of the answer.")] = ANSWER_TOKENS,
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="Threads that decode and encode frames; one per core if left out."),
    ] = None,
    evidence: Annotated[
        Path | None,
        typer.Option(metavar="FILE.html|FILE.png", help="Write the chosen frames, with heat maps, here."),
    ] = None,
    index: IndexOption = None,
    no_index: NoIndexOption = False,
    stock_tower: StockTowerOption = False,
    json_target: JsonOption = None,
) -> None:
    """Answer a question about a video."""
    with wrong_use():
        check_fps(fps)
        check_part(start, end)
    tokens = tokens_or_auto(budget)
    if steps is not None and tokens != AUTO:
        raise WrongUse(f"--steps must stand with --budget auto, got --budget {budget}: leave one out")
    if also:
        _check_for_several(start, end, tokens, subtitles)
    _check(question, option or [], evidence, model)
    silence_libraries()
    from bvllm.common.subtitles import read_subtitles
    from bvllm.common.text import Question

    with wrong_use():
        parsed = Question.parse(question, option)
        cues = () if subtitles is None else read_subtitles(subtitles)
        stages = (select, select_frames, merge_frames, sample_tokens, merge_tokens, tokens_policy)
        methods = method_names(*stages, seed, force, prune_layers)
    chooses = (model, scorer, pipeline, methods)
    videos, reading = (video, *(also or ())), (tokens, steps, frames, fps, start, end)
    asked = (videos, parsed, *reading, *chooses, cues, max_new_tokens)
    request = AskRequest(*asked, threads, evidence, index, not no_index, stock_tower)
    encoded, answer = _work(request)
    warnings = [str(warning) for clip in encoded for warning in clip.report.warnings]
    if warnings:
        note("; ".join(warnings))
    deliver(json_target, lambda: _text(answer), lambda: _as_object(request, encoded, answer))
    _note_what_did_not_count(request, answer)
    if request.evidence is not None:
        _show_evidence(request.evidence, encoded, answer)


def _note_what_did_not_count(request: AskRequest, answer: "Answer") -> None:
    from bvllm.inference.results import notes_lines

    for line in notes_lines(answer):
        note(line)
    if request.methods.force:
        note("--force: the projector may never have seen such tokens; the answer is no evidence of anything")


def _check(question: str, options: list[str], evidence: Path | None, model: str) -> None:
    """Everything that can be known to be wrong without a video or a model: before torch is imported."""
    from bvllm.common.files import check_evidence_path
    from bvllm.inference.model_name import resolve_model

    with wrong_use():
        if not question.strip():
            raise ValueError("question must hold words, got nothing: write what you want to know")
        for text in (question, *options):
            if any("\ud800" <= letter <= "\udfff" for letter in text):  # how Python keeps such bytes
                raise ValueError("question must be text, got bytes that are not UTF-8: type it again")
        if evidence is not None:
            check_evidence_path(evidence)
        resolve_model(model)


def _check_for_several(start: float, end: float | None, tokens: object, subtitles: Path | None) -> None:
    """Refuse what belongs to one video."""
    with wrong_use():
        for option, given, hint in (
            (
                "--start and --end",
                start or end is not None,
                "bvllm.chat in Python takes a part of each",
            ),
            ("--subtitles", subtitles is not None, "bvllm.chat in Python takes them with each"),
            ("--budget auto", tokens == AUTO, "give a number of tokens"),
        ):
            if given:
                raise ValueError(f"{option} must be left out with --also, got it: {hint}")


def _work(request: AskRequest) -> tuple[list["EncodedVideo"], "Answer"]:
    from bvllm.inference.ask import load_model
    from bvllm.inference.ask_several import kinds_named
    from bvllm.inference.loading import ModelError
    from bvllm.inference.several import check_several, kinds_of
    from bvllm.video import LOCAL_LIMITS, VideoError, check_readable

    try:
        isolate_decoding()
        for video in request.videos:
            check_readable(video, LOCAL_LIMITS)  # report a missing file before loading the model
        steps = _steps(request) if request.budget == AUTO else None
        with wrong_use():
            loaded = load_model(
                request.model,
                fast=not request.stock_tower,
                scorer=request.scorer,
                pipeline=request.pipeline,
            )
            loaded.methods(request.methods)
            if len(request.videos) > 1:
                check_several(loaded, kinds_named(request.videos), _budget(request, loaded), request.methods)
        with progress_bar() as bar:
            encoded = [_encode(video, request, loaded, bar) for video in request.videos]
            if len(encoded) > 1:
                with wrong_use():  # by what the files are, not by their names
                    check_several(loaded, kinds_of(encoded), _budget(request, loaded), request.methods)
            result = _answer(request, encoded, loaded, bar, steps)
    except (VideoError, ModelError, OSError) as error:
        raise Unanswerable(str(error)) from error
    return encoded, result


def _answer(
    request: AskRequest,
    encoded: list["EncodedVideo"],
    loaded: "VideoModel",
    bar: "Progress | None",
    steps: "AutoBudget | None",
) -> "Answer":
    """One answer, about one video or several."""
    from bvllm.inference.ask import answer, answer_auto, answer_several

    budget = _budget(request, loaded)
    if len(encoded) > 1:
        return answer_several(
            encoded,
            request.question,
            loaded,
            names=request.videos,
            budget=budget,
            methods=request.methods,
            max_new_tokens=request.max_new_tokens,
            threads=request.threads,
            progress=bar,
        )
    give = partial(answer, budget=budget)
    if steps is not None:
        give = partial(answer_auto, budget=steps)
    return give(
        encoded[0],
        request.question,
        loaded,
        methods=request.methods,
        subtitles=request.subtitles,
        max_new_tokens=request.max_new_tokens,
        threads=request.threads,
        progress=bar,
    )


def _budget(request: AskRequest, loaded: "VideoModel") -> "Budget | None":
    """What the question may cost; None where that follows from the question."""
    if request.budget == AUTO:
        return None
    return loaded.budget.with_parts(request.budget, request.frames)


def _steps(request: AskRequest) -> "AutoBudget":
    """The budgets that are tried; a note where nobody calibrated them for the model."""
    from bvllm.inference.auto_budget import AutoBudget
    from bvllm.inference.model_name import resolve_model

    try:
        found = (
            AutoBudget.load(resolve_model(request.model))
            if request.steps is None
            else AutoBudget.read(request.steps)
        )
    except ValueError as error:
        raise Unanswerable(f"model {request.model!r} cannot be asked with --budget auto: {error}") from error
    if found.measured is None:
        note(
            f"--budget auto: a margin of {found.least_margin:g}, which was calibrated for no model; "
            "`bvllm calibrate` finds this model's"
        )
    else:
        frames = request.frames or found.frames
        for word, then, now in (
            ("scorer", found.scorer, request.scorer),
            ("pipeline", found.pipeline, request.pipeline),
            ("frames", found.frames, frames),
            ("fps", found.fps, request.fps),
        ):
            if then != now:
                note(
                    f"--budget auto: calibrated with {word} {then!r}, and asked with {now!r}; what the steps "
                    "are worth then was not measured"
                )
    return replace(found, frames=request.frames or found.frames)


def _show_evidence(path: Path, encoded: list["EncodedVideo"], answer: "Answer") -> None:
    from bvllm.inference.evidence.write import write_evidence
    from bvllm.video import VideoError

    try:
        with unwritten(path):
            write_evidence(path, encoded if len(encoded) > 1 else encoded[0], answer)
    except VideoError as error:
        raise Unanswerable(str(error)) from error


def _encode(video: str, request: AskRequest, loaded: "VideoModel", bar: "Progress | None") -> "EncodedVideo":
    """The video through the index; without it where that is wanted, or where the index cannot hold it."""
    from bvllm.asking.indexed import encode_or_index
    from bvllm.inference.encode import encode_video
    from bvllm.video import LOCAL_LIMITS

    if request.use_index:
        return encode_or_index(
            video,
            loaded,
            index_folder(request.index),
            note,
            fps=request.fps,
            start=request.start,
            end=request.end,
            limits=LOCAL_LIMITS,
            threads=request.threads,
            progress=bar,
        )
    return encode_video(
        video,
        loaded,
        fps=request.fps,
        start=request.start,
        end=request.end,
        limits=LOCAL_LIMITS,
        threads=request.threads,
        progress=bar,
    )


def _text(answer: "Answer") -> str:
    from bvllm.common.text import shown
    from bvllm.inference.results import answer_line, cost_line, doubt_line, own_words, times_line

    lines = [doubt_line(answer), answer_line(answer)]
    if own_words(answer):
        lines.append(f"in its own words: {own_words(answer)}")
    # A model may write control characters.
    said = [shown(line) for text in lines for line in text.splitlines()]
    return "\n".join([*said, cost_line(answer), times_line(answer)])


def _as_object(request: AskRequest, encoded: list["EncodedVideo"], answer: "Answer") -> dict[str, object]:
    from bvllm.inference.results import answer_as_json

    infos, reports = [clip.info for clip in encoded], [clip.report for clip in encoded]
    alone = len(encoded) == 1
    found = answer_as_json(answer, infos[0] if alone else infos, reports[0] if alone else reports)
    evidence = None if request.evidence is None else str(request.evidence)
    settings = {
        "model": request.model,
        "scorer": request.scorer,
        "pipeline": request.pipeline,
        "threads": request.threads,
        "index": request.use_index,
        "stock_tower": request.stock_tower,
    }
    video, *also = request.videos
    named = {"video": video, **({"also": also} if also else {})}
    return {**found, "command": {**named, **settings, "evidence": evidence}}
