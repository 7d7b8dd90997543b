"""Parse the command line: one file per verb; nothing heavy is imported up front."""

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Annotated, Any

import typer

from bvllm import __version__
from bvllm.cli.ask import ask
from bvllm.cli.calibrate import calibrate
from bvllm.cli.console import Termination, WrongUse, deliver_lost_interrupts, example, show
from bvllm.cli.convert import convert
from bvllm.cli.doctor import doctor
from bvllm.cli.eval import evaluate_model
from bvllm.cli.index import index
from bvllm.cli.json_output import with_value
from bvllm.cli.leaderboard import leaderboard
from bvllm.cli.methods import methods
from bvllm.cli.models import models
from bvllm.cli.plan import plan
from bvllm.cli.search import search
from bvllm.cli.serve import serve
from bvllm.cli.train import train
from bvllm.cli.world import world
from bvllm.common.torchvision_operators import declare_missing_operators

# What the parser raises where it does not understand the words; typer shows us only its children.
UsageError = typer.BadParameter.__bases__[0]

app = typer.Typer(
    name="bvllm",
    help="Questions about long videos, answered on a fixed budget of visual tokens.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
COMMANDS: dict[str, tuple[Callable[..., None], str]] = {
    "ask": (ask, 'bvllm ask video.mp4 "which colour is the star?" --evidence page.html'),
    "search": (search, 'bvllm search videos "a red star" --top 3'),
    "serve": (serve, "bvllm serve --allow-path videos"),
    "index": (index, "bvllm index videos"),
    "plan": (plan, "bvllm plan video.mp4 --budget 128"),
    "models": (models, "bvllm models"),
    "methods": (methods, "bvllm methods tome"),
    "doctor": (doctor, "bvllm doctor video.mp4"),
    "eval": (evaluate_model, "bvllm eval --data world --json scores.json"),
    "calibrate": (calibrate, "bvllm calibrate --data world/val.jsonl --model runs/mine --out runs/mine"),
    "leaderboard": (leaderboard, "bvllm leaderboard --data world --methods balanced,tome --out table"),
    "convert": (convert, "bvllm convert llama-vid release converted"),
}
for _name, (_command, _example) in COMMANDS.items():
    app.command(_name, epilog=example(_example))(_command)
app.add_typer(world, name="world")
app.add_typer(train, name="train")


def _moved(command: str, where: str) -> None:
    """Leave a hidden command for one release that says where it went."""

    def say(words: Annotated[list[str] | None, typer.Argument()] = None) -> None:
        raise WrongUse(f"`bvllm {command}` must be run in a checkout of bvllm: {where}")

    app.command(command, hidden=True, context_settings={"ignore_unknown_options": True})(say)


_moved("bench", "make bench ARGS='--goal G1'")
_moved("reproduce", "make reproduce TABLE=table3 OUT=miniature")


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and stop.", is_eager=True)
    ] = False,
) -> None:
    """Questions about long videos, answered on a fixed budget of visual tokens."""
    if version:
        show(f"bvllm {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        show(context.get_help())


# Of another release, say: transformers imports whatever torchvision there is.
TORCHVISION = (
    "torchvision must be built for the torch that is installed, got one that cannot be imported: install it "
    "from the package index that torch came from, or pip uninstall torchvision"
)


def main(argv: Sequence[str] | None = None, commands: typer.Typer = app, name: str = "bvllm") -> int:
    """Run the command line, or another group of commands with the same manners.

    Args:
        argv: words after the command's name; None is those of this process.
        commands, name: what else is run; the speed benchmarks and the paper's tables use this.

    Returns:
        The exit status: 0, 2 for wrong use, 1 for an input that cannot be answered, 130 where interrupted,
        143 where SIGTERM ended it. Any other than 0 comes with exactly one line on stderr.
    """
    deliver_lost_interrupts()
    declare_missing_operators()
    for stream in filter(None, (sys.stdout, sys.stderr)):  # a shell may have closed either
        stream.reconfigure(errors="replace")  # a terminal without Unicode gets a question mark, not a crash
    try:
        code = _run(argv, commands, name)
        sys.stdout.flush()
    except OSError as error:
        return _unheard(error)
    return code


def _run(argv: Sequence[str] | None, commands: typer.Typer, name: str) -> int:
    termination = Termination()
    try:
        with termination.listening():
            words = with_value(sys.argv[1:] if argv is None else argv)
            code = _plain_if_piped(commands).main(words, prog_name=name, standalone_mode=False)
    except typer.TyperException as error:
        # A command that says how far it came cannot tell which of the two signals it was.
        stopped = termination.received and error.exit_code == 130
        return _fail(error.format_message() + _advice(error), 143 if stopped else error.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        code = 130
    except ModuleNotFoundError as error:
        if "torchvision::" not in str(error.__cause__):
            raise
        return _fail(TORCHVISION, 1)
    if code == 130:
        return _fail("terminated", 143) if termination.received else _fail("interrupted", 130)
    return code or 0


def _plain_if_piped(commands: typer.Typer) -> Any:
    """The commands, whose help has boxes and colours on a terminal only."""
    if not sys.stdout.isatty():
        for group in (commands, *(part.typer_instance for part in commands.registered_groups)):
            if group is not None:
                group.rich_markup_mode = None
    return typer.main.get_command(commands)


def _unheard(error: OSError) -> int:
    """Report output that cannot be written: the reader of a pipe is gone, or the disk is full.

    Raises:
        OSError: again, where it was about something else.
    """
    if error.filename is not None:
        raise error
    with suppress(OSError), open(os.devnull, "w") as nowhere:  # Python flushes once more at its end
        os.dup2(nowhere.fileno(), sys.stdout.fileno())
    return _fail(f"output cannot be written: {error.strerror or error}", 1)


def _advice(error: typer.TyperException) -> str:
    """Where to read on, if the words themselves were not understood."""
    context = getattr(error, "ctx", None) if isinstance(error, UsageError) else None
    return "" if context is None else f" ({context.command_path} --help explains)"


def _fail(message: str, code: int) -> int:
    show("error: " + " ".join(message.split()), to_stderr=True)
    return code
