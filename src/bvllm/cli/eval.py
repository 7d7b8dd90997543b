"""`bvllm eval`: measure how often a model is right, per task and per duration."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from bvllm.cli.console import (
    Unanswerable,
    WrongUse,
    isolate_decoding,
    progress_bar,
    silence_libraries,
    wrong_use,
)
from bvllm.cli.json_output import JsonOption, deliver
from bvllm.cli.options import (
    BudgetOption,
    ForceOption,
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
    TrustOption,
    method_names,
)


def evaluate_model(
    data: Annotated[
        Path, typer.Option(help="Folder made by `bvllm world make`, or a JSONL file in it.", exists=True)
    ],
    task: Annotated[
        str, typer.Option(metavar="world|mlvu|...", help="Which benchmark the folder holds.")
    ] = "world",
    media_root: Annotated[
        Path | None,
        typer.Option(
            help="Folder that the questions name their videos from.",
            exists=True,
            file_okay=False,
            show_default=False,
        ),
    ] = None,
    model: ModelOption = "nano",
    scorer: ScorerOption = None,
    pipeline: PipelineOption = None,
    trust_remote_code: TrustOption = False,
    budget: BudgetOption = None,
    frames: FramesOption = None,
    select_frames: SelectFramesOption = None,
    merge_frames: MergeFramesOption = None,
    sample_tokens: SampleTokensOption = None,
    merge_tokens: MergeTokensOption = None,
    tokens_policy: PolicyOption = None,
    prune_layers: PruneLayersOption = None,
    seed: SeedOption = 0,
    force: ForceOption = False,
    select: SelectOption = None,
    ablate: Annotated[
        str | None,
        typer.Option(
            metavar="token-copies,blind,...",
            help="Also ask with one part's input swapped, and say what each costs.",
            show_default=False,
        ),
    ] = None,
    json_target: JsonOption = None,
) -> None:
    """Ask every question of a benchmark and count what is right."""
    from bvllm.inference.model_name import resolve_model

    with wrong_use():
        resolve_model(model)
        swaps = [name.strip() for name in (ablate or "").split(",") if name.strip()]
    silence_libraries()
    stages = (select, select_frames, merge_frames, sample_tokens, merge_tokens, tokens_policy)
    methods = method_names(*stages, seed, force, prune_layers)
    from bvllm.evaluation.evaluate import evaluate
    from bvllm.inference.loading import ModelError, load_model
    from bvllm.video import VideoError

    try:
        isolate_decoding()
        with progress_bar() as bar:
            tell = None if bar is None else lambda done, total: bar("questions", done, total)
            report = evaluate(
                data,
                task=task,
                model=load_model(model, scorer=scorer, pipeline=pipeline),
                tokens=budget,
                frames=frames,
                methods=methods,
                progress=tell,
                media_root=media_root,
                ablations=swaps,
            )
        if scorer is not None:
            report = replace(report, settings={**report.settings, "scorer": scorer})
        # The table first: it was long work, and the disk may be full.
        deliver(json_target, report.table, report.as_json)
    except ValueError as error:
        raise WrongUse(str(error)) from error
    except (VideoError, ModelError, OSError) as error:
        raise Unanswerable(str(error)) from error
