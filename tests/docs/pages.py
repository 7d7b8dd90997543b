"""Follow a page of docs/ as a newcomer does: write its blocks into a copy of the checkout, run its commands.

A fence says where its block goes: `title=FILE` appends to a file, `after="LINE"` puts it below that line,
`before="LINE"` above the line that begins so. Blocks of `bash` without a title are run.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

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


def follow(page: str, home: Path) -> list[str]:
    """Write every titled block of a page into a copy of the checkout; give its commands."""
    for name in COPIED:
        source = REPO / name
        if source.is_dir():
            shutil.copytree(source, home / name, ignore=shutil.ignore_patterns("__pycache__", "site"))
        else:
            shutil.copy(source, home / name)
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


def run(command: str, home: Path) -> str:
    """Run one command of a page in the copy.

    Raises:
        AssertionError: it ends with another status than 0.
    """
    words = shlex.split(command)
    if words[0] in ("bvllm", "mypy"):
        words = ["python", "-m", *words]
    assert words[0] == "python", f"{command}: teach tests/docs/pages.py to run it"
    env = {**os.environ, "PYTHONPATH": str(home / "src"), "XDG_CACHE_HOME": str(home / "cache")}
    done = subprocess.run(
        [sys.executable, *words[1:]], cwd=home, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout
