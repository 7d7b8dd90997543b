"""`python -m experiments.reproduction`: reproduce the paper's tables in miniature."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from bvllm.cli import main
from bvllm.cli.console import Unanswerable, silence_libraries, wrong_use

NAME = "python -m experiments.reproduction"
app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def reproduce(
    what: Annotated[
        str,
        typer.Argument(
            metavar="table1|table3|table3_cause|table4|table7|figure3|figure5|beyond|all|dynamic_compressors|"
            "dynamic_tradeoff|dynamic_lengths|dynamic_pictures|dynamic_elastic",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path, typer.Option(help="Folder for everything; a later run goes on in it.", file_okay=False)
    ],
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each variant.")] = 3,
    warm: Annotated[
        Path | None,
        typer.Option(
            help="Folder of a `bvllm train nano` on both worlds, whose tower and language model are taken; "
            "else nano's are gone on from.",
            show_default=False,
            file_okay=False,
        ),
    ] = None,
    questions: Annotated[
        int | None,
        typer.Option(
            min=1, help="Questions of each duration and world, but for dynamic_*; 120.", show_default=False
        ),
    ] = None,
    extras: Annotated[
        bool,
        typer.Option(
            help="Also the rows of figure3, figure5 and beyond that are trainings of their own; without, all "
            "are settings of one trained model.",
        ),
    ] = True,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Variants at a time; one for each core.", show_default=False)
    ] = None,
) -> None:
    """Train what a table still lacks, examine it, and write Markdown, JSON and pictures."""
    silence_libraries()
    from safetensors import SafetensorError

    from experiments.reproduction.dynamic import make_dynamic
    from experiments.reproduction.dynamic_tables import TABLES as DYNAMIC
    from experiments.reproduction.make import make, tables_of
    from experiments.reproduction.scale import MINIATURE

    def log(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    command = " ".join([NAME, *sys.argv[1:]])
    with wrong_use():
        tables = () if what in DYNAMIC else tables_of(what, extras=extras)
    try:
        if what in DYNAMIC:
            print(make_dynamic(what, out, seeds=seeds, warm=warm, command=command, log=log))
            return
        pages = make(
            tables,
            out,
            seeds=seeds,
            warm=warm,
            workers=workers,
            scale=MINIATURE if questions is None else replace(MINIATURE, questions=questions),
            command=command,
            log=log,
        )
    except (ValueError, OSError, SafetensorError) as error:  # safetensors says a full disk in its own way
        raise Unanswerable(str(error)) from error
    print("\n\n".join(pages))


if __name__ == "__main__":
    sys.exit(main(commands=app, name=NAME))
