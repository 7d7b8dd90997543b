"""`bvllm ask`: answer a question about a video, with what it cost and what it rests on."""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from bvllm.cli.console import (
    Unanswerable,
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

if TYPE_CHECKING:
    from bvllm.common.subtitles import Cue
    from bvllm.common.text import Question
    from bvllm.inference.auto_budget import AutoBudget
    from bvllm.inference.encode import EncodedVideo, Progress
    from bvllm.inference.model import VideoModel
    from bvllm.inference.results import Answer
    from bvllm.methods.names import MethodNames


@dataclass(frozen=True)
class AskRequest:
    """The command line, parsed."""

    video: str
    question: "Question"
    budget: "int | Literal['auto'] | None"
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


NoIndexOption = Annotated[bool, typer.Option("--no-index", help="Neither read nor write the index.")]
StockTowerOption = Annotated[
    bool, typer.Option("--stock-tower", help="Encode frames with transformers' own tower: slower.")
]


def ask(
    video: VideoArgument,
    question: Annotated[
        str, typer.Argument(metavar="QUESTION", help="What to ask about it.", show_default=False)
    ],
    budget: AutoBudgetOption = None,
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
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Length limit of the answer.")] = 48,
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
    asked = (video, parsed, tokens, frames, fps, start, end, *chooses, cues, max_new_tokens)
    request = AskRequest(*asked, threads, evidence, index, not no_index, stock_tower)
    encoded, answer = _work(request)
    if encoded.report.warnings:
        note("; ".join(map(str, encoded.report.warnings)))
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


def _work(request: AskRequest) -> tuple["EncodedVideo", "Answer"]:
    from bvllm.inference.ask import answer, answer_auto, load_model
    from bvllm.inference.loading import ModelError
    from bvllm.video import LOCAL_LIMITS, VideoError, check_readable

    try:
        isolate_decoding()
        check_readable(request.video, LOCAL_LIMITS)  # report a missing file before loading the model
        steps = _steps(request) if request.budget == AUTO else None
        with wrong_use():
            loaded = load_model(
                request.model,
                fast=not request.stock_tower,
                scorer=request.scorer,
                pipeline=request.pipeline,
            )
            loaded.methods(request.methods)
        with progress_bar() as bar:
            encoded = _encode(request, loaded, bar)
            give = partial(
                answer,
                budget=None
                if request.budget == AUTO
                else loaded.budget.with_parts(request.budget, request.frames),
            )
            if steps is not None:
                give = partial(answer_auto, budget=steps)
            result = give(
                encoded,
                request.question,
                loaded,
                methods=request.methods,
                subtitles=request.subtitles,
                max_new_tokens=request.max_new_tokens,
                threads=request.threads,
                progress=bar,
            )
    except (VideoError, ModelError, OSError) as error:
        raise Unanswerable(str(error)) from error
    return encoded, result


def _steps(request: AskRequest) -> "AutoBudget":
    """The budgets that are tried; a note where nobody calibrated them for the model."""
    from bvllm.inference.auto_budget import AutoBudget
    from bvllm.inference.model_name import resolve_model

    try:
        found = AutoBudget.load(resolve_model(request.model))
    except ValueError as error:
        raise Unanswerable(f"model {request.model!r} cannot be asked with --budget auto: {error}") from error
    if found.measured is None:
        note(
            f"--budget auto: a margin of {found.least_margin:g}, which was calibrated for no model; "
            "`bvllm calibrate` finds this model's"
        )
    return replace(found, frames=request.frames)


def _show_evidence(path: Path, encoded: "EncodedVideo", answer: "Answer") -> None:
    from bvllm.inference.evidence.write import write_evidence
    from bvllm.video import VideoError

    try:
        with unwritten(path):
            write_evidence(path, encoded, answer)
    except VideoError as error:
        raise Unanswerable(str(error)) from error


def _encode(request: AskRequest, loaded: "VideoModel", bar: "Progress | None") -> "EncodedVideo":
    """The video through the index; without it where that is wanted, or where the index cannot hold it."""
    from bvllm.asking.indexed import encode_or_index
    from bvllm.inference.encode import encode_video
    from bvllm.video import LOCAL_LIMITS

    if request.use_index:
        return encode_or_index(
            request.video,
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
        request.video,
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


def _as_object(request: AskRequest, encoded: "EncodedVideo", answer: "Answer") -> dict[str, object]:
    from bvllm.inference.results import answer_as_json

    found = answer_as_json(answer, encoded.info, encoded.report)
    evidence = None if request.evidence is None else str(request.evidence)
    settings = {
        "model": request.model,
        "scorer": request.scorer,
        "pipeline": request.pipeline,
        "threads": request.threads,
        "index": request.use_index,
        "stock_tower": request.stock_tower,
    }
    return {**found, "command": {"video": request.video, **settings, "evidence": evidence}}
