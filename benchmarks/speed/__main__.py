"""`python -m benchmarks.speed`: measure every promise about speed and memory here."""

import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from bvllm.cli import main
from bvllm.cli.console import Unanswerable, silence_libraries, unwritten, wrong_use

NAME = "python -m benchmarks.speed"
app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def speed(
    goal: Annotated[
        list[str] | None,
        typer.Option(help="Only this goal, as G1; repeat it for each.", show_default=False),
    ] = None,
    clip: Annotated[
        list[Path] | None,
        typer.Option(
            help="A video to loop to length, beside the drawn one; repeat it.",
            show_default=False,
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    drawn: Annotated[bool, typer.Option(help="Measure on drawn footage, too.")] = True,
    model: Annotated[
        str, typer.Option(metavar="random|nano|PATH", help="What looks at the frames.")
    ] = "random",
    minutes: Annotated[float, typer.Option(min=0.1, help="Length of the shorter video.")] = 10,
    hour: Annotated[float, typer.Option(min=0.1, help="Length of the longer video, in minutes.")] = 60,
    rounds: Annotated[int, typer.Option(min=1, help="How often what is short is repeated.")] = 3,
    folder: Annotated[
        Path | None, typer.Option(help="Keep the videos that are made here.", file_okay=False)
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(help="An earlier run, as JSON, to show beside.", exists=True, dir_okay=False),
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the run here, too.", dir_okay=False)
    ] = None,
) -> None:
    """Measure every figure as a ratio to a plain peer in this run."""
    _check(model, json_file)
    silence_libraries()
    from benchmarks.speed.goals import BenchmarkPlan, run
    from benchmarks.speed.page import as_json, as_markdown, read_run
    from benchmarks.speed.result import Conditions
    from bvllm.video import VideoError, probe

    conditions = Conditions.now(" ".join([NAME, *sys.argv[1:]]))
    with ExitStack() as stack:
        with wrong_use():
            before = None if against is None else read_run(against)[0]
            home = folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bvllm-bench-")))
            goals = None if not goal else frozenset(goal)
            plan = BenchmarkPlan(
                home, tuple(clip or ()), model, minutes * 60, hour * 60, rounds, goals, drawn
            )
        try:
            for one in plan.clips:
                probe(one)
            figures = list(run(plan, lambda line: print(line, file=sys.stderr)))
        except (VideoError, OSError, RuntimeError) as error:
            raise Unanswerable(str(error)) from error
    print(as_markdown(figures, conditions, before), flush=True)
    if json_file is not None:
        _keep(as_json(figures, conditions) + "\n", json_file)


def _check(model: str, json_file: Path | None) -> None:
    """Everything that can be known to be wrong at once: the rest takes half an hour."""
    from bvllm.common.files import check_folder_of
    from bvllm.inference.model_name import resolve_model

    with wrong_use():
        if json_file is not None:
            check_folder_of(json_file, "--json")
        if model != "random":
            resolve_model(model)


def _keep(text: str, file: Path) -> None:
    from bvllm.common.files import replace_file

    with unwritten(file):
        replace_file(file, text.encode())


if __name__ == "__main__":
    sys.exit(main(commands=app, name=NAME))
