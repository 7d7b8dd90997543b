"""Say what a table is: its rows, what the paper says of them, and what must hold to agree."""

from dataclasses import dataclass, replace

from experiments.reproduction.scale import VIDEO_COLUMNS
from experiments.reproduction.variants import Variant


@dataclass(frozen=True)
class Row:
    """One system of a table.

    Attributes:
        label: as the table shows it.
        variant: what is trained.
        paper: the paper's own figures, or "" where we have none.
    """

    label: str
    variant: Variant
    paper: str = ""


@dataclass(frozen=True)
class Claim:
    """That one system is better than another.

    Attributes:
        text: what the paper says.
        better, worse: variants.
        columns: durations over which the mean is taken.
    """

    text: str
    better: Variant
    worse: Variant
    columns: tuple[str, ...] = VIDEO_COLUMNS


@dataclass(frozen=True)
class Table:
    """One table or figure of the paper.

    Attributes:
        name: for the command line.
        title, note: for the page.
        rows: systems.
        claims: orders of rows that the paper reports, or that were hoped for.
        expected: whose they are, for the page.
    """

    name: str
    title: str
    note: str
    rows: tuple[Row, ...]
    claims: tuple[Claim, ...]
    expected: str = "the paper's order"

    @property
    def variants(self) -> tuple[Variant, ...]:
        """Each once."""
        return tuple(dict.fromkeys(row.variant for row in self.rows))

    def without_extras(self) -> "Table":
        """Without the rows that are trainings of their own, and without the claims about them.

        A table none of whose rows differ at inference alone stays as it is.
        """
        bases = {variant.trained for variant in self.variants if variant.inference is not None}
        if not bases:
            return self
        rows = tuple(row for row in self.rows if row.variant.trained in bases)
        left = {row.variant for row in rows}
        return replace(self, rows=rows, claims=tuple(c for c in self.claims if {c.better, c.worse} <= left))
