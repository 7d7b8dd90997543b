"""Keep the answers of a leaderboard on disk, one JSON line each, so that a run can go on after a kill."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from bvllm.common.files import replace_file

ROWS, RUN, CELLS = "answers.jsonl", "run.json", "cells.jsonl"


@dataclass(frozen=True)
class AnswerRow:
    """One question, asked with one method on one budget.

    Attributes:
        question: its id.
        entry: name of the method's row in the table.
        budget: tokens that were allowed.
        right: whether the likeliest option is the right one.
        tokens: visual tokens that the language model was given; where layers drop some, the mean over them.
        frames: that they come from.
        method_ms: choosing frames and reducing tokens, without the tower.
        prefill_ms: the language model's first call.
        merged: how many of the frames that were chosen became part of others.
        peak_mb: memory allocated while reducing and reading the prompt, where it was measured.
        refused: why the method does not run on this model; everything else is then 0. A run that goes on asks
            again: what was refused may run by then.
    """

    question: str
    entry: str
    budget: int
    right: bool = False
    tokens: float = 0.0
    frames: int = 0
    method_ms: float = 0.0
    prefill_ms: float = 0.0
    merged: int = 0
    peak_mb: float | None = None
    refused: str | None = None

    @property
    def cell(self) -> tuple[str, int]:
        return self.entry, self.budget


@dataclass(frozen=True)
class RunSettings:
    """What a run was started with; another run may not go on with its rows.

    Attributes:
        model, scorer: as they were named.
        data: digest of the questions.
        budgets: tokens.
        questions: how many are asked.
        seed: which of them, and of methods that draw at random.
        fps: frames a second.
        version: of this package: another may reduce otherwise.
        weights: digest of the model's weights, and of its scorer.
    """

    model: str
    scorer: str | None
    data: str
    budgets: tuple[int, ...]
    questions: int
    seed: int
    fps: float
    version: str
    weights: str


class RowFile:
    """The rows of a run.

    Raises:
        ValueError: the folder holds a run with other settings, or something else.
    """

    def __init__(self, out: Path, settings: RunSettings) -> None:
        self.file, run = out / ROWS, out / RUN
        plain = json.loads(json.dumps(asdict(settings)))
        if run.is_file():
            before = json.loads(run.read_text(encoding="utf-8"))
            if before != plain:
                other = ", ".join(k for k in plain if before.get(k) != plain[k])
                raise ValueError(
                    f"--out must hold a run with the same {other}, got {str(out)!r}: name another folder"
                )
        else:
            out.mkdir(parents=True, exist_ok=True)
            replace_file(run, (json.dumps(plain, indent=1) + "\n").encode())
        self.rows = _read(self.file)
        if any(row.refused for row in self.rows):
            self.rows = [row for row in self.rows if not row.refused]
            replace_file(self.file, _lines(self.rows).encode())
        self._known = {(row.question, *row.cell) for row in self.rows}
        self._refused: set[str] = set()

    def has(self, question: str, entry: str, budget: int) -> bool:
        """Whether this was asked, or was found since this run began to be something that cannot be."""
        return entry in self._refused or (question, entry, budget) in self._known

    def add(self, rows: list[AnswerRow]) -> None:
        """Append rows; a kill loses those of one call at most."""
        if not rows:
            return
        with open(self.file, "a", encoding="utf-8") as file:
            file.write(_lines(rows))
        self.rows += rows
        self._known |= {(row.question, *row.cell) for row in rows}
        self._refused |= {row.entry for row in rows if row.refused}


def _lines(rows: list[AnswerRow]) -> str:
    return "".join(json.dumps(asdict(row)) + "\n" for row in rows)


def _read(file: Path) -> list[AnswerRow]:
    """Every whole line; what a kill cut off is cut from the file, too."""
    if not file.is_file():
        return []
    text = file.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        replace_file(file, whole.encode())
    return [AnswerRow(**json.loads(line)) for line in whole.splitlines()]
