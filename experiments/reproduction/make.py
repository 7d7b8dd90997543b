"""Make the files of a table from its name."""

import difflib
from collections.abc import Callable
from pathlib import Path

from benchmarks.speed.result import Conditions
from bvllm.common.threads import usable_cores
from bvllm.training.checkpoints import write_whole_file
from experiments.reproduction.markdown import as_markdown
from experiments.reproduction.plots import draw
from experiments.reproduction.prepare import prepare
from experiments.reproduction.report import record
from experiments.reproduction.run import Job, run
from experiments.reproduction.scale import MINIATURE, Scale
from experiments.reproduction.table import Table
from experiments.reproduction.tables import TABLES

ALL = "all"


def tables_of(name: str, *, extras: bool = True) -> tuple[Table, ...]:
    """One table, or all.

    Args:
        extras: with the rows of Figures 3 and 5 and of "beyond" that are trainings of their own.

    Raises:
        ValueError: there is no such table.
    """
    return tuple(table if extras else table.without_extras() for table in _named(name))


def _named(name: str) -> tuple[Table, ...]:
    if name == ALL:
        return tuple(TABLES.values())
    if name not in TABLES:
        near = difflib.get_close_matches(name, TABLES, n=1)
        known = ", ".join((*TABLES, ALL))
        raise ValueError(
            f"what must be one of {known}, got {name!r}: "
            + (f"did you mean {near[0]!r}?" if near else "use one of these")
        )
    return (TABLES[name],)


def make(
    tables: tuple[Table, ...],
    out: Path,
    *,
    seeds: int = 3,
    warm: Path | None = None,
    workers: int | None = None,
    command: str = "python -m experiments.reproduction",
    scale: Scale = MINIATURE,
    log: Callable[[str], None] = print,
) -> list[str]:
    """Train and examine what is missing, then write `<table>.md`, `.json`, `.png` and `.svg`.

    Args:
        out: everything is kept here, so that a run that was stopped goes on, and a variant of two tables is
            trained once.
        seeds: trainings of each variant, seeds 1 to this.
        warm: folder of a `bvllm train nano` on both worlds, whose tower and language model are taken over;
            nano's are gone on from where None.
        workers: variants at a time; as many as there are cores where None.
        command: for the record.
        scale: how large; the recorded miniature.

    Returns:
        The pages.

    Raises:
        ValueError: `out` or `warm` is not what it must be.
    """
    cores = workers or usable_cores()
    prepare(out, scale, workers=cores, warm=warm, log=log)
    pages = []
    for table in tables:
        chosen = list(range(1, seeds + 1))
        run(out, scale, [Job(v, s) for s in chosen for v in table.variants], workers=cores, log=log)
        found = record(table, out, chosen, scale, Conditions.now(command))
        page = as_markdown(found)
        write_whole_file(out / f"{table.name}.json", found.to_json() + "\n")
        write_whole_file(out / f"{table.name}.md", page + "\n")
        try:
            draw(found, out)
        except ImportError as error:
            log(f"{table.name}: no pictures, {error}")
        pages.append(page)
    return pages
