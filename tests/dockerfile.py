"""Read a Dockerfile as instructions, and say which files of a checkout reach the build."""

import re
import shlex
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

REPO = Path(__file__).parents[1]


@dataclass(frozen=True)
class Instruction:
    """One instruction of a Dockerfile.

    Attributes:
        word: RUN, COPY and so on.
        rest: what follows, its lines joined, without flags such as `--mount=...`.
        flags: those flags.
        stage: of the build, from 0.
    """

    word: str
    rest: str
    flags: tuple[str, ...]
    stage: int

    @property
    def words(self) -> list[str]:
        return shlex.split(self.rest)


def instructions(text: str) -> list[Instruction]:
    """All of them in order; an ARG before the first FROM belongs to stage -1."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    found, stage = [], -1
    for line in re.sub(r"\\\n\s*", " ", "\n".join(lines)).splitlines():
        if not line.strip():
            continue
        word, rest = line.strip().split(maxsplit=1)
        stage += word == "FROM"
        flags = []
        while word != "HEALTHCHECK" and (flag := re.match(r"--[\w-]+=\S+\s+", rest)):
            flags.append(flag[0].strip())
            rest = rest[flag.end() :]
        found.append(Instruction(word, rest, tuple(flags), stage))
    return found


def reaches_the_build(path: str, ignore: str) -> bool:
    """Whether .dockerignore lets a file through: the last line that matches it or a folder of it decides."""
    places = [path, *(str(parent) for parent in Path(path).parents if str(parent) != ".")]
    kept = True
    for line in ignore.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        pattern = line.removeprefix("!").removeprefix("**/")
        if any(
            fnmatch(place, pattern) or (fnmatch(Path(place).name, pattern) and "**/" in line)
            for place in places
        ):
            kept = line.startswith("!")
    return kept
