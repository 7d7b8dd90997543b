"""A progress bar on stderr where somebody watches it, and nothing where nobody does."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Report = Callable[[str, int, int | None], None]


@contextmanager
def progress_bar(*, remaining: bool = False) -> Iterator[Report | None]:
    """A function to be told (step, done, of how many or None); None where stderr is no terminal.

    Args:
        remaining: show the time that is left beside the time that is gone.
    """
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TaskID,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    # Steps may be names of files: brackets in them mean nothing.
    text = TextColumn("{task.description}", markup=False)
    columns = [text, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()]
    if remaining:
        columns += [TextColumn("left"), TimeRemainingColumn()]
    tasks: dict[str, TaskID] = {}
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:

        def report(step: str, done: int, total: int | None) -> None:
            if step not in tasks:
                tasks[step] = bars.add_task(step, total=total, completed=done)
            bars.update(tasks[step], completed=done, total=total)

        yield report
