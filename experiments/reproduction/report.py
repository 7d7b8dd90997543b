"""Collect a table's results as one record, and write the record as Markdown."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.speed.result import Conditions
from experiments.reproduction.run import Job, Result
from experiments.reproduction.scale import DURATIONS, VIDEO_COLUMNS, Scale
from experiments.reproduction.score import FAMILIES, ScoredAnswer
from experiments.reproduction.statistics import Estimate, estimate
from experiments.reproduction.tables import Claim, Row, Table
from experiments.reproduction.variants import Variant

Marks = list[tuple[ScoredAnswer, ...]]  # of one variant, by seed
AGREEMENT = {1: "agrees", 0: "not told apart", -1: "**the other way round**"}
VIDEO = "video"


@dataclass(frozen=True)
class RowRecord:
    """One system of a table.

    Attributes:
        label, paper: as in the table.
        variant: name.
        changes: what differs from the base.
        accuracy: share of right answers, by duration, and "video" for the mean of the three.
        families: the same over the videos, by family of tasks.
        found: share of the questions on videos of which a frame with an asked needle was chosen.
        frames, tokens: spent on a video, on average.
        minutes: of one core, for instruction and exam, on average.
    """

    label: str
    paper: str
    variant: str
    changes: dict[str, object]
    accuracy: dict[str, Estimate]
    families: dict[str, Estimate]
    found: float
    frames: float
    tokens: float
    minutes: float


@dataclass(frozen=True)
class ClaimRecord:
    """Whether the order of two rows is the paper's: the difference, and what it says."""

    text: str
    columns: list[str]
    difference: Estimate
    verdict: str


@dataclass(frozen=True)
class TableRecord:
    """All of a table, with what gave it."""

    name: str
    title: str
    note: str
    seeds: list[int]
    questions: int
    chance: dict[str, float]
    minutes: float
    scale: dict[str, object]
    conditions: dict[str, object]
    rows: list[RowRecord]
    claims: list[ClaimRecord]
    expected: str = "the paper's order"

    def to_json(self) -> str:
        """One object."""
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def read(cls, path: Path) -> "TableRecord":
        """From what `to_json` wrote."""
        told = json.loads(path.read_text(encoding="utf-8"))
        rows = [
            RowRecord(**row | {cut: _estimates(row[cut]) for cut in ("accuracy", "families")})
            for row in told.pop("rows")
        ]
        claims = [
            ClaimRecord(**claim | {"difference": Estimate(**claim["difference"])})
            for claim in told.pop("claims")
        ]
        return cls(**told, rows=rows, claims=claims)


def record(table: Table, home: Path, seeds: list[int], scale: Scale, conditions: Conditions) -> TableRecord:
    """Put together what the jobs of a table left.

    Raises:
        FileNotFoundError: a job has not run.
    """
    results = {v: [Result.read(Job(v, seed).result(home)) for seed in seeds] for v in table.variants}
    marks = {variant: [result.marks for result in found] for variant, found in results.items()}
    minutes = {v: float(np.mean([r.seconds for r in found])) / 60 for v, found in results.items()}
    rows = [_row(row, marks[row.variant], minutes[row.variant]) for row in table.rows]
    claims = [_claim(claim, marks) for claim in table.claims]
    return TableRecord(
        table.name,
        table.title,
        table.note,
        seeds,
        scale.questions,
        _chance(marks[table.rows[0].variant][0]),
        sum(minutes.values()) * len(seeds),
        scale.to_json(),
        asdict(conditions),
        rows,
        claims,
        table.expected,
    )


def _row(row: Row, marks: Marks, minutes: float) -> RowRecord:
    accuracy = {name: estimate([_right(marks, _lasts(name))]) for name in DURATIONS}
    accuracy[VIDEO] = estimate([_right(marks, _lasts(name)) for name in VIDEO_COLUMNS])
    families = {name: estimate([_right(marks, _in_family(tasks))]) for name, tasks in FAMILIES.items()}
    shown = [m for of_seed in marks for m in of_seed if m.duration in VIDEO_COLUMNS]
    return RowRecord(
        row.label,
        row.paper,
        row.variant.name,
        dict(row.variant.changes),
        accuracy,
        families,
        float(np.mean([m.found for m in shown if m.found is not None])),
        float(np.mean([m.frames for m in shown])),
        float(np.mean([m.tokens for m in shown])),
        minutes,
    )


def _chance(asked: tuple[ScoredAnswer, ...]) -> dict[str, float]:
    """What guessing gives, by duration."""
    chance = {n: float(np.mean([1 / m.options for m in asked if m.duration == n])) for n in DURATIONS}
    return chance | {VIDEO: float(np.mean([chance[n] for n in VIDEO_COLUMNS]))}


def _claim(claim: Claim, marks: Mapping[Variant, Marks]) -> ClaimRecord:
    blocks = [
        _right(marks[claim.better], _lasts(name)) - _right(marks[claim.worse], _lasts(name))
        for name in claim.columns
    ]
    difference = estimate(blocks)
    return ClaimRecord(claim.text, list(claim.columns), difference, AGREEMENT[difference.sign])


def _lasts(name: str) -> Callable[[ScoredAnswer], bool]:
    return lambda mark: mark.duration == name


def _in_family(tasks: tuple[str, ...]) -> Callable[[ScoredAnswer], bool]:
    return lambda mark: mark.duration in VIDEO_COLUMNS and mark.task in tasks


def _right(marks: Marks, counts: Callable[[ScoredAnswer], bool]) -> NDArray[np.float64]:
    """(seeds, questions) 1 where right."""
    return np.array([[float(m.right) for m in of_seed if counts(m)] for of_seed in marks])


def _estimates(told: Mapping[str, Mapping[str, float]]) -> dict[str, Estimate]:
    return {name: Estimate(**value) for name, value in told.items()}


def as_markdown(found: TableRecord, *, heading: str = "##") -> str:
    """The page of one table: accuracy by duration, by family, and what the paper says."""
    columns = [*DURATIONS, VIDEO]
    lines = [
        f"{heading} {found.title}",
        "",
        found.note,
        "",
        _line(["", *columns, "needle found", "frames", "tokens", "the paper"]),
        _line(["---"] * (len(columns) + 5)),
    ]
    for row in found.rows:
        cells = [_percent(row.accuracy[name]) for name in columns]
        spent = [f"{100 * row.found:.0f} %", f"{row.frames:.1f}", f"{row.tokens:.0f}"]
        lines.append(_line([row.label, *cells, *spent, row.paper]))
    lines.append(_line(["guessing", *(f"{100 * found.chance[n]:.1f}" for n in columns), *[""] * 4]))
    lines += ["", "By family of tasks, over all videos:", "", _line(["", *FAMILIES])]
    lines.append(_line(["---"] * (len(FAMILIES) + 1)))
    lines += [_line([row.label, *(_percent(row.families[f]) for f in FAMILIES)]) for row in found.rows]
    lines += ["", _line([found.expected, "over", "difference here, points", ""]), _line(["---"] * 4)]
    for claim in found.claims:
        d = claim.difference
        over = "video" if tuple(claim.columns) == VIDEO_COLUMNS else ", ".join(claim.columns)
        cell = f"{100 * d.mean:+.1f} ({100 * d.low:+.1f} to {100 * d.high:+.1f})"
        lines.append(_line([claim.text, over, cell, claim.verdict]))
    told = found.conditions
    lines += [
        "",
        f"`{told['command']}`, commit {told['commit']}, {told['when']}; seeds "
        f"{', '.join(map(str, found.seeds))}; {found.questions} questions of each duration; "
        f"{found.minutes:.0f} minutes of one core for instruction and exam, shared stages apart "
        f"({told['processor']}).",
    ]
    return "\n".join(lines)


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _percent(value: Estimate) -> str:
    return f"{100 * value.mean:.1f} ({100 * value.low:.0f}-{100 * value.high:.0f})"
