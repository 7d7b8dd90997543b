"""`bvllm calibrate`: find the steps of `--budget auto` for a model, and say what they are worth."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bvllm.cli.console import (
    Unanswerable,
    WrongUse,
    isolate_decoding,
    note,
    progress_bar,
    silence_libraries,
    unwritten,
    wrong_use,
)
from bvllm.cli.json_output import JsonOption, deliver
from bvllm.cli.options import FramesOption, ModelOption, PipelineOption, ScorerOption, TrustOption

if TYPE_CHECKING:
    from bvllm.evaluation.calibration import Calibration
    from bvllm.evaluation.tasks.base import Item
    from bvllm.inference.model import VideoModel

DEFAULT = "16,64,256,1024,2048"


def calibrate(
    data: Annotated[
        Path, typer.Option(help="Questions of a validation split: as for `bvllm eval`.", exists=True)
    ],
    model: ModelOption = "nano",
    test: Annotated[
        Path | None,
        typer.Option(
            help="Other questions, on which the steps are measured again.", exists=True, show_default=False
        ),
    ] = None,
    task: Annotated[
        str, typer.Option(metavar="world|mlvu|...", help="Which benchmark the data are.")
    ] = "world",
    budgets: Annotated[
        str,
        typer.Option(metavar="N,N,...", help="Budgets that may be steps; the last is what is saved from."),
    ] = DEFAULT,
    points: Annotated[
        float, typer.Option(min=0, help="Points of accuracy that may be lost against the last budget.")
    ] = 1.0,
    frames: FramesOption = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="The model's folder: the steps are written beside its weights, for `bvllm ask`; or any for "
            "`bvllm ask --steps`.",
            exists=True,
            file_okay=False,
            show_default=False,
        ),
    ] = None,
    scorer: ScorerOption = None,
    pipeline: PipelineOption = None,
    trust_remote_code: TrustOption = False,
    json_target: JsonOption = None,
) -> None:
    """Find which budgets `--budget auto` tries with a model, and how sure an answer must be."""
    from bvllm.inference.model_name import resolve_model

    with wrong_use():
        resolve_model(model)
        steps = _numbers(budgets)
    silence_libraries()
    from bvllm.evaluation.tasks import task_of
    from bvllm.inference.loading import ModelError, load_model
    from bvllm.video import VideoError

    try:
        isolate_decoding()
        reader = task_of(task)
        splits = [reader.read(folder, None) for folder in (data, test) if folder is not None]
        found = _measure(
            splits, load_model(model, scorer=scorer, pipeline=pipeline), steps, points / 100, frames
        )
    except ValueError as error:
        raise WrongUse(str(error)) from error
    except (VideoError, ModelError, OSError) as error:
        raise Unanswerable(str(error)) from error
    deliver(
        json_target,
        lambda: "\n\n".join(one.table() for one in found),
        lambda: [one.as_json() for one in found],
    )
    _keep(found, points, out, {"frames": frames, "scorer": scorer, "pipeline": pipeline})


def _measure(
    splits: "list[list[Item]]", loaded: "VideoModel", budgets: list[int], most_lost: float, frames: int | None
) -> "list[Calibration]":
    """The steps on the split that they are found on, and on any other."""
    from bvllm.evaluation.calibrate import find_steps, try_budgets
    from bvllm.evaluation.calibration import weigh

    found: list[Calibration] = []
    with progress_bar() as bar:
        tell = None if bar is None else lambda done, total: bar("questions", done, total)
        for items in splits:
            trials = try_budgets(items, loaded, budgets, frames=frames, progress=tell)
            steps = found[0].steps if found else find_steps(trials, most_lost=most_lost)
            found.append(weigh(steps, trials, items, loaded, frames=frames, progress=tell))
    return found


def _keep(found: "list[Calibration]", points: float, out: Path | None, asked: dict[str, Any]) -> None:
    """Write the steps, and how they were asked for, where they are worth it on every split."""
    against = next(filter(None, (one.why_not(most_lost=points / 100) for one in found)), None)
    if against is not None:
        raise Unanswerable(against)
    if out is None:
        note("nothing is written: name the model's folder with --out to keep the steps")
        return
    with unwritten(out):
        replace(found[0].steps, **asked).save(out)


def _numbers(budgets: str) -> list[int]:
    """Rising numbers with commas between them.

    Raises:
        ValueError: they are none.
    """
    words = [word.strip() for word in budgets.split(",")]
    found = [int(word) for word in words if word.isdecimal()]
    if len(found) != len(words) or found != sorted(set(found)) or found[0] < 1 or len(found) < 2:
        raise ValueError(
            f"--budgets must be two or more rising numbers, got {budgets!r}: write them as {DEFAULT}"
        )
    return found
