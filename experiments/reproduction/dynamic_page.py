"""Write a table of Dynamic-VLM: columns, accuracy with intervals, and which orders hold."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.speed.result import Conditions
from experiments.reproduction.dynamic_tables import By, DynamicTable
from experiments.reproduction.markdown import table_line
from experiments.reproduction.statistics import AGREEMENT, Estimate, estimate_if_any, percent, points

WORLDS = ("plain", "busy")
LENGTHS = (16, 32, 64)  # seconds: longest clips of the columns of a table by length


class Column(NamedTuple):
    """A column of a table: which questions, in blocks that are resampled apart.

    Attributes:
        name: its head.
        blocks: each (questions,) True where a question belongs to it.
    """

    name: str
    blocks: tuple[NDArray[np.bool_], ...]

    def of(self, found: NDArray[np.float64]) -> Estimate | None:
        """The mean of (seeds, questions), with its interval; None where nothing was asked."""
        return estimate_if_any([found[:, block] for block in self.blocks])


def columns_of(frames: Sequence[int], by: By) -> list[Column]:
    """The columns of a table, the last of all videos, or of the sets of pictures.

    Args:
        frames: of each question's video: as many questions of the plain world as of the busy one, in this
            order; then a 0 for each question about a set of pictures.
        by: see `DynamicTable`; in a column of several worlds each is a block.

    Raises:
        ValueError: there is an odd number of questions about videos, or none.
    """
    lengths = np.asarray(frames, dtype=int)
    sets, videos = lengths == 0, int((lengths > 0).sum())
    if videos % 2 or not videos:
        raise ValueError(
            f"frames must be of an even number of videos, got {videos}: draw more clips, so that both worlds "
            "have as many questions"
        )
    number = np.arange(len(lengths))
    worlds = (number < videos // 2, (number >= videos // 2) & ~sets)
    of_world = [Column(name, (world,)) for name, world in zip(WORLDS, worlds, strict=True)]
    last = Column("all", worlds)
    if by == "worlds":
        return [*of_world, last]
    if by == "pictures":
        return [*of_world, Column("sets of pictures", (sets,))]
    within = [((low < lengths) & (lengths <= high), high) for low, high in pairwise((0, *LENGTHS))]
    return [*(Column(f"up to {high} s", tuple(w & here for w in worlds)) for here, high in within), last]


def page_of(
    table: DynamicTable,
    right: list[NDArray[np.float64]],
    columns: list[Column],
    chance: float,
    seeds: list[int],
    told: Conditions,
) -> str:
    """Markdown: accuracy in every column with intervals, and the claims.

    Args:
        right: of each row (seeds, questions).
        columns: which questions each has.

    Raises:
        ValueError: rows answered different questions.
    """
    asked = {found.shape[1] for found in right}
    if asked != {len(columns[-1].blocks[0])}:
        raise ValueError(
            f"right must hold {len(columns[-1].blocks[0])} questions in all rows, got {sorted(asked)}: make "
            "the table in a folder of its own"
        )
    heads = [column.name for column in columns]
    lines = [
        f"## {table.title}",
        "",
        table.note,
        "",
        table_line(["", *heads, "the paper"]),
        table_line(["---"] * (len(heads) + 2)),
        *(
            table_line([row.label, *(percent(column.of(found)) for column in columns), row.paper])
            for row, found in zip(table.rows, right, strict=True)
        ),
        table_line(["guessing", *[""] * (len(heads) - 1), f"{100 * chance:.1f}", ""]),
        "",
    ]
    compared = columns[-1:] if table.by == "worlds" else columns
    lines += [table_line(["hoped", "of", "difference, points", ""]), table_line(["---"] * 4)]
    for text, better, worse in table.claims:
        for column in compared:
            d = column.of(right[better] - right[worse])
            lines.append(table_line([text, column.name, points(d), AGREEMENT[None if d is None else d.sign]]))
    lines += ["", f"`{told.command}`, commit {told.commit}, {told.when}; seeds {', '.join(map(str, seeds))}."]
    return "\n".join(lines)
