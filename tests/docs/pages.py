"""Follow a page of docs/ as a newcomer does: write its blocks into a copy of the checkout, run its commands.

A fence says where its block goes: `title=FILE` appends to a file, `after="LINE"` puts it below that line,
`before="LINE"` above the line that begins so. Blocks of `bash` without a title are run.
"""

import contextlib
import functools
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import mypy.api
import pytest

import bvllm.cli

REPO = Path(__file__).parents[2]
FENCE = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
COPIED = ("src", "tests", "docs", "pyproject.toml")


class Block(NamedTuple):
    """A fenced block: its language, where it goes, and its text."""

    language: str
    place: dict[str, str]
    text: str


def blocks(page: str) -> Iterator[Block]:
    for match in FENCE.finditer((REPO / "docs" / page).read_text(encoding="utf-8")):
        yield Block(match[1], dict(word.split("=", 1) for word in shlex.split(match[2])), match[3])


def steps(page: str) -> list[str]:
    """The numbered headings of a page."""
    return re.findall(r"^## (\d)\. ", (REPO / "docs" / page).read_text(encoding="utf-8"), re.MULTILINE)


def copy_checkout(home: Path) -> None:
    for name in COPIED:
        source = REPO / name
        if source.is_dir():
            shutil.copytree(source, home / name, ignore=shutil.ignore_patterns("__pycache__", "site"))
        else:
            shutil.copy(source, home / name)


def follow(page: str, home: Path) -> list[str]:
    """Write every titled block of a page into a copy of the checkout; give its commands."""
    commands: list[str] = []
    for block in blocks(page):
        if "title" in block.place:
            write(home / block.place["title"], block)
        elif block.language == "bash":
            commands += block.text.splitlines()
    return commands


def write(file: Path, block: Block) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    old = file.read_text(encoding="utf-8") if file.exists() else ""
    if "before" in block.place:
        begin = block.place["before"]
        assert old.count("\n" + begin) == 1, f"{file.name} must hold one line that begins with {begin!r}"
        file.write_text(old.replace("\n" + begin, "\n" + block.text + begin), encoding="utf-8")
    elif "after" in block.place:
        line = block.place["after"] + "\n"
        assert old.count(line) == 1, f"{file.name} must hold the line {line!r} once"
        file.write_text(old.replace(line, line + block.text), encoding="utf-8")
    else:
        file.write_text(old + block.text, encoding="utf-8")


def run(commands: list[str], home: Path) -> list[str]:
    """Run commands of the pages in the copy, one after another in one process: torch is imported once.

    Returns:
        What each wrote to stdout, or how it failed.
    """
    # Options and sources are those of `make test`, so mypy's cache of the checkout serves the copy.
    if (REPO / ".mypy_cache").is_dir():
        shutil.copytree(REPO / ".mypy_cache", home / ".mypy_cache", dirs_exist_ok=True)
    paths = os.pathsep.join([str(home / "src"), str(home)])
    env = {**os.environ, "PYTHONPATH": paths, "XDG_CACHE_HOME": str(home / "cache")}
    words = [sys.executable, str(home / "tests/docs/pages.py"), json.dumps(commands)]
    done = subprocess.run(words, cwd=home, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    return [
        text if status == 0 else f"{command} failed:\n{text}\n{done.stderr}"
        for command, (status, text) in zip(commands, found)
    ]


def run_here(command: str) -> tuple[int, str]:
    """The status and the output of one command."""
    match shlex.split(command):
        case ["bvllm", *words]:
            action = functools.partial(bvllm.cli.main, words)
        case ["python", "-m", "pytest", *words]:
            action = functools.partial(pytest.main, words)
        case ["mypy", *words]:
            out, err, status = mypy.api.run(words)
            return status, out + err
        case _:
            return 1, "teach tests/docs/pages.py to run it"
    with contextlib.redirect_stdout(io.TextIOWrapper(io.BytesIO(), encoding="utf-8")) as said:
        status = action()
    said.seek(0)
    return int(status), said.read()


if __name__ == "__main__":
    found = [run_here(command) for command in json.loads(sys.argv[1])]
    print(json.dumps(found))
