"""`bvllm train`: make a model again."""

from pathlib import Path
from typing import Annotated

import typer

from bvllm.cli.errors import Unanswerable, WrongUse
from bvllm.cli.quiet import quiet

train = typer.Typer(help="Train a model.", add_completion=False)


@train.callback()
def root() -> None:
    """Train a model."""


@train.command("nano")
def nano(
    out: Annotated[
        Path, typer.Option(help="Folder for the model and its checkpoints.", file_okay=False)
    ] = Path("runs/nano"),
    minutes: Annotated[
        float | None, typer.Option(min=0.1, help="The most time for all stages together.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last finished stage in --out.")
    ] = False,
) -> None:
    """Train the embedded model from nothing, on the world's own videos."""
    quiet()
    from bvllm.app.train import train_nano

    try:
        path = train_nano(out, minutes=minutes, resume=resume, log=_log)
    except ValueError as error:
        raise WrongUse(str(error)) from error
    except OSError as error:
        raise Unanswerable(str(error)) from error
    print(path)


def _log(line: str) -> None:
    print(line, flush=True)
