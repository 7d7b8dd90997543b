"""`bvllm convert`: convert a baseline's released checkpoint into our layout."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from bvllm.cli.console import Unanswerable, show, silence_libraries


class Kind(StrEnum):
    """The releases that can be converted."""

    LLAMA_VID = "llama-vid"
    VIDEOLLAMA2 = "videollama2"


def convert(
    kind: Annotated[Kind, typer.Argument(help="Whose checkpoint it is.")],
    source: Annotated[Path, typer.Argument(help="Folder of the release.", exists=True, file_okay=False)],
    target: Annotated[Path, typer.Argument(help="New folder for the converted model.", file_okay=False)],
    tower: Annotated[
        Path | None,
        typer.Option(help="Folder with the vision tower, where the release leaves it out.", exists=True),
    ] = None,
    bert: Annotated[
        Path | None,
        typer.Option(help="Folder with BERT's tokenizer (bert-base-uncased), for llama-vid.", exists=True),
    ] = None,
) -> None:
    """Convert a released LLaMA-VID or VideoLLaMA2 (safetensors) to a model that `ask` and `eval` take."""
    silence_libraries()
    from bvllm.model.conversion.convert import convert as convert_release

    try:
        made = convert_release(kind.value, source, target, tower=tower, question_tokenizer=bert)
    except (ValueError, OSError) as error:
        raise Unanswerable(str(error)) from error
    show(f"{made.folder}: {made.weights} weights; {len(made.computed)} computed ones left out")
