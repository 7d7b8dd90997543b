"""Keep what a table came to, as JSON: its rows and claims in each world, and what gave them."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from experiments.reproduction.scale import World
from experiments.reproduction.statistics import Estimate

Figures = dict[str, Estimate | None]
VIDEO = "video"  # the mean of the three durations of videos


@dataclass(frozen=True)
class WorldFigures:
    """What one system came to in one world. None where no question was asked.

    Attributes:
        accuracy: share of right answers, by duration, and "video".
        families: the same over the videos, by family of tasks.
        found: share of the questions on videos of which a frame that shows what is asked was chosen.
        frames, tokens: spent on a video, on average.
    """

    accuracy: Figures
    families: Figures
    found: float | None
    frames: float | None
    tokens: float | None


@dataclass(frozen=True)
class RowRecord:
    """One system of a table.

    Attributes:
        label, paper: as in the table.
        variant: name.
        changes: what differs from the base, in training and at inference.
        worlds: its figures.
        minutes: of one core, for instruction and exam, on average; of the exam alone where nothing but
            numbers at inference differ.
    """

    label: str
    paper: str
    variant: str
    changes: dict[str, object]
    worlds: dict[World, WorldFigures]
    minutes: float


@dataclass(frozen=True)
class ClaimRecord:
    """Whether the order of two rows is the paper's in a world: the difference, and what it says."""

    text: str
    columns: list[str]
    difference: Estimate | None
    verdict: str
    world: World


@dataclass(frozen=True)
class TableRecord:
    """All of a table, with what gave it.

    Attributes:
        questions: of each duration and world.
        chance: what guessing gives, by world and duration.
        minutes: of one core, in all.
    """

    name: str
    title: str
    note: str
    seeds: list[int]
    questions: int
    chance: dict[World, dict[str, float | None]]
    minutes: float
    scale: dict[str, object]
    conditions: dict[str, object]
    rows: list[RowRecord]
    claims: list[ClaimRecord]
    expected: str = "the paper's order"

    @property
    def worlds(self) -> tuple[World, ...]:
        """In which it was examined."""
        return tuple(self.chance)

    def to_json(self) -> str:
        """One object."""
        return json.dumps(asdict(self), indent=1, allow_nan=False)

    @classmethod
    def read(cls, path: Path) -> "TableRecord":
        """From what `to_json` wrote."""
        told = json.loads(path.read_text(encoding="utf-8"))
        rows = [_row(row) for row in told.pop("rows")]
        claims = [
            ClaimRecord(**claim | {"difference": _estimate(claim["difference"])})
            for claim in told.pop("claims")
        ]
        return cls(**told, rows=rows, claims=claims)


def _row(told: Mapping[str, Any]) -> RowRecord:
    worlds = {
        world: WorldFigures(
            **own | {cut: {k: _estimate(v) for k, v in own[cut].items()} for cut in ("accuracy", "families")}
        )
        for world, own in told["worlds"].items()
    }
    return RowRecord(**told | {"worlds": worlds})


def _estimate(told: Mapping[str, float] | None) -> Estimate | None:
    return None if told is None else Estimate(**told)
