"""Collect a table's results as one record."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.speed.result import Conditions
from experiments.reproduction.questions import FAMILIES
from experiments.reproduction.records import VIDEO, ClaimRecord, RowRecord, TableRecord, WorldFigures
from experiments.reproduction.run import Job, Result
from experiments.reproduction.scale import DURATIONS, VIDEO_COLUMNS, WORLDS, Scale, World
from experiments.reproduction.score import ScoredAnswer
from experiments.reproduction.statistics import AGREEMENT, estimate_if_any
from experiments.reproduction.table import Claim, Row, Table
from experiments.reproduction.variants import Variant

Marks = list[tuple[ScoredAnswer, ...]]  # of one variant, by seed


def record(table: Table, home: Path, seeds: list[int], scale: Scale, conditions: Conditions) -> TableRecord:
    """Put together what the jobs of a table left.

    Raises:
        FileNotFoundError: a job has not run.
    """
    results = {v: [Result.read(Job(v, seed).result(home)) for seed in seeds] for v in table.variants}
    marks = {variant: [result.marks for result in found] for variant, found in results.items()}
    minutes = {v: float(np.mean([r.seconds for r in found])) / 60 for v, found in results.items()}
    first = marks[table.rows[0].variant][0]
    return TableRecord(
        table.name,
        table.title,
        table.note,
        seeds,
        scale.questions,
        {world: _chance([m for m in first if m.world == world]) for world in WORLDS},
        sum(minutes.values()) * len(seeds),
        scale.to_json(),
        asdict(conditions),
        [_row(row, marks[row.variant], minutes[row.variant]) for row in table.rows],
        [_claim(claim, world, marks) for world in WORLDS for claim in table.claims],
        table.expected,
    )


def _row(row: Row, marks: Marks, minutes: float) -> RowRecord:
    changes = dict(row.variant.changes)
    if row.variant.inference is not None:
        given = {k: v for k, v in asdict(row.variant.inference).items() if v is not None}
        changes["at inference"] = given
    worlds = {world: _figures(_of_world(marks, world), world) for world in WORLDS}
    return RowRecord(row.label, row.paper, row.variant.name, changes, worlds, minutes)


def _figures(marks: Marks, world: World) -> WorldFigures:
    accuracy = {name: estimate_if_any([_right(marks, _lasts(name))]) for name in DURATIONS}
    accuracy[VIDEO] = estimate_if_any([_right(marks, _lasts(name)) for name in VIDEO_COLUMNS])
    families = {
        name: estimate_if_any([_right(marks, _in_family(tasks))]) for name, tasks in FAMILIES[world].items()
    }
    shown = [m for of_seed in marks for m in of_seed if m.duration in VIDEO_COLUMNS]
    return WorldFigures(
        accuracy,
        families,
        _mean(m.found for m in shown if m.found is not None),
        _mean(m.frames for m in shown),
        _mean(m.tokens for m in shown),
    )


def _of_world(marks: Marks, world: World) -> Marks:
    return [tuple(m for m in of_seed if m.world == world) for of_seed in marks]


def _chance(asked: list[ScoredAnswer]) -> dict[str, float | None]:
    """What guessing gives, by duration."""
    chance = {name: _mean(1 / m.options for m in asked if m.duration == name) for name in DURATIONS}
    of_videos = [chance[name] for name in VIDEO_COLUMNS]
    known = [value for value in of_videos if value is not None]
    return chance | {VIDEO: _mean(known) if len(known) == len(of_videos) else None}


def _claim(claim: Claim, world: World, marks: Mapping[Variant, Marks]) -> ClaimRecord:
    better, worse = (_of_world(marks[variant], world) for variant in (claim.better, claim.worse))
    blocks = [_right(better, _lasts(name)) - _right(worse, _lasts(name)) for name in claim.columns]
    difference = estimate_if_any(blocks)
    verdict = AGREEMENT[None if difference is None else difference.sign]
    return ClaimRecord(claim.text, list(claim.columns), difference, verdict, world)


def _lasts(name: str) -> Callable[[ScoredAnswer], bool]:
    return lambda mark: mark.duration == name


def _in_family(tasks: tuple[str, ...]) -> Callable[[ScoredAnswer], bool]:
    return lambda mark: mark.duration in VIDEO_COLUMNS and mark.task in tasks


def _right(marks: Marks, counts: Callable[[ScoredAnswer], bool]) -> NDArray[np.float64]:
    """(seeds, questions) 1 where right."""
    return np.array([[float(m.right) for m in of_seed if counts(m)] for of_seed in marks])


def _mean(values: Iterable[float]) -> float | None:
    """None where there are no values."""
    found = list(values)
    return float(np.mean(found)) if found else None
