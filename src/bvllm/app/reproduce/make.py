"""Make the files of a table from its name."""

import difflib
from collections.abc import Callable
from pathlib import Path

from bvllm.app.bench.result import Conditions
from bvllm.app.reproduce.plots import draw
from bvllm.app.reproduce.report import as_markdown, record
from bvllm.app.reproduce.run import Job, prepare, run
from bvllm.app.reproduce.scale import MINIATURE, Scale
from bvllm.app.reproduce.tables import TABLES, Table
from bvllm.common.threads import usable_cores
from bvllm.training.checkpoints import write_whole_file

ALL = "all"


def tables_of(name: str) -> tuple[Table, ...]:
    """One table, or all.

    Raises:
        ValueError: there is no such table.
    """
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
    command: str = "bvllm reproduce",
    scale: Scale = MINIATURE,
    log: Callable[[str], None] = print,
) -> list[str]:
    """Train and examine what is missing, then write `<table>.md`, `.json`, `.png` and `.svg`.

    Args:
        out: everything is kept here, so that a run that was stopped goes on, and a variant of two tables is
            trained once.
        seeds: trainings of each variant, seeds 1 to this.
        warm: folder of a `bvllm train nano` whose language model is taken over.
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
