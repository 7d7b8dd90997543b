"""Write one JSON object where `--json` says, in the same way for every command."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from bvllm.cli.console import show, unwritten

FLAG, PRINT = "--json", "-"


@dataclass(frozen=True)
class JsonTarget:
    """Where the object goes: a file, or standard output in place of the text."""

    file: Path | None

    @classmethod
    def parse(cls, said: str) -> "JsonTarget":
        """The word behind the flag.

        Raises:
            BadParameter: it is no file that can be written. A name must end in .json, so that nobody writes
                over a video.
        """
        if said == PRINT:
            return cls(None)
        if not said.endswith(".json"):
            raise typer.BadParameter(
                f"--json must name a file that ends in .json, got {said!r}: - prints the object"
            )
        from bvllm.common.files import check_folder_of

        try:
            return cls(check_folder_of(Path(said), FLAG))
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error


JsonOption = Annotated[
    JsonTarget | None,
    typer.Option(
        FLAG,
        metavar="[FILE.json]",
        help="Write one JSON object to this file; without a name, or as -, print it in place of the text.",
        parser=JsonTarget.parse,
        show_default=False,
    ),
]


def replaces_text(target: JsonTarget | None) -> bool:
    """Whether the object is all that is printed."""
    return target is not None and target.file is None


def deliver(target: JsonTarget | None, text: Callable[[], str], found: Callable[[], object]) -> None:
    """Print the text, and write the object; or print the object alone.

    Raises:
        Unanswerable: the file cannot be written.
    """
    if not replaces_text(target):
        show(text())
    if target is not None:
        write(target, found())


def write(target: JsonTarget, found: object) -> None:
    """Write the object to its file, whole or not at all, or print it.

    Raises:
        Unanswerable: the file cannot be written.
    """
    said = json.dumps(found)
    if target.file is None:
        show(said)
        return
    from bvllm.common.files import replace_file

    with unwritten(target.file):
        replace_file(target.file, (said + "\n").encode())


def with_value(words: Sequence[str]) -> list[str]:
    """The words of a command line, where a bare `--json` stands for `--json -`.

    Example:
        >>> with_value(["plan", "a.mp4", "--json"]), with_value(["--json", "a.json", "x.mp4"])
        (['plan', 'a.mp4', '--json', '-'], ['--json', 'a.json', 'x.mp4'])
    """
    found: list[str] = []
    for place, word in enumerate(words):
        found.append(word)
        following = words[place + 1] if place + 1 < len(words) else ""
        if word == FLAG and following != PRINT and not following.endswith(".json"):
            found.append(PRINT)
    return found
