"""`bvllm leaderboard`: compare methods on one model, on the same questions and budgets."""

from collections.abc import Callable
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
from bvllm.cli.options import ScorerOption, TrustOption

WORLD, VIDEOS, SECONDS = "world-{}", 50, (16.0, 64.0)  # what is made where no data are named
CLOCKED = "when"  # frames reach most families without their times


def leaderboard(
    out: Annotated[Path, typer.Option(help="Folder for answers, table and plot.", file_okay=False)],
    model: Annotated[
        str,
        typer.Option(metavar="llava-nano|nano|PATH|HUB_ID", help="A transformers video model, or a B-VLLM."),
    ] = "llava-nano",
    scorer: ScorerOption = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Folder made by `bvllm world make`; busy videos are made where it is left out.",
            exists=True,
            show_default=False,
        ),
    ] = None,
    budgets: Annotated[str, typer.Option(help="Visual tokens, apart by commas.")] = "16,32,64,128,256",
    methods: Annotated[
        str, typer.Option(help="Which: all, or names apart by commas; baselines are added.")
    ] = "all",
    tasks: Annotated[
        str | None,
        typer.Option(help="Tasks whose questions are asked, apart by commas; all of them if left out."),
    ] = None,
    questions: Annotated[
        int | None, typer.Option(min=1, help="So many of them, drawn by the seed.", show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of data, questions and random methods.")] = 0,
    fps: Annotated[float, typer.Option(help="Frames to sample per second of video.")] = 1.0,
    trust_remote_code: TrustOption = False,
    json_target: JsonOption = None,
) -> None:
    """Compare methods: accuracy, tokens, prefill time, memory, in one table and one plot.

    A run that was stopped goes on where it was, with the same words.
    """
    with wrong_use():
        counts = budget_counts(budgets)
    silence_libraries()
    from bvllm.evaluation.leaderboard.make import Asked, entries_of, make_leaderboard, model_for_all
    from bvllm.inference.loading import ModelError
    from bvllm.video import VideoError

    try:
        isolate_decoding()
        with progress_bar() as bar:
            tell = None if bar is None else lambda done, total: bar("questions", done, total)
            loaded = model_for_all(model, scorer)
            entries = entries_of(loaded, methods, seed)
            made = None if bar is None else lambda done, total: bar("videos", done, total)
            folder = data or world_for(out, seed, made)
            asked = Asked(model, scorer, folder, counts, questions, seed, fps, named_tasks(tasks))
            found = make_leaderboard(out, asked, entries, loaded, progress=tell)
        deliver(json_target, found.text, found.as_json)
    except ValueError as error:
        raise WrongUse(str(error)) from error
    except (VideoError, ModelError, OSError, ImportError) as error:
        raise Unanswerable(str(error)) from error


def world_for(out: Path, seed: int, progress: Callable[[int, int], None] | None = None) -> Path:
    """Busy videos of a seed in a folder of the run, made once; they ask for nothing that needs a clock."""
    from bvllm.synthetic import make_world
    from bvllm.synthetic.busy.tasks import BUSY_TASKS

    folder = out / WORLD.format(seed)
    if not (folder / "test.jsonl").is_file():  # which is written last
        tasks = [task for task in BUSY_TASKS if task != CLOCKED]
        make_world(
            folder,
            split="test",
            count=VIDEOS,
            seconds=SECONDS,
            seed=seed,
            tasks=tasks,
            detail="busy",
            progress=progress,
        )
    return folder


def named_tasks(text: str | None) -> tuple[str, ...]:
    """Tasks as `binding,counting`; none for all.

    Example:
        >>> named_tasks("binding, counting"), named_tasks(None)
        (('binding', 'counting'), ())
    """
    return tuple(word.strip() for word in (text or "").split(",") if word.strip())


def budget_counts(text: str) -> tuple[int, ...]:
    """Budgets as `16,32`, ascending.

    Example:
        >>> budget_counts("32, 16")
        (16, 32)
    """
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words or not all(word.isdigit() and int(word) > 0 for word in words):
        raise ValueError(f"--budgets must be whole numbers above 0, got {text!r}: write 16,32,64")
    return tuple(sorted({int(word) for word in words}))
