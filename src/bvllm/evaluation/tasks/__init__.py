"""Name the benchmarks that `bvllm eval` can ask: one file each, one table.

docs/adding-a-task.md adds one in six steps.
"""

import difflib

from bvllm.evaluation.tasks.base import Item, Task
from bvllm.evaluation.tasks.mlvu import MLVU
from bvllm.evaluation.tasks.world import WORLD

__all__ = ["TASKS", "Item", "Task", "task_of"]

TASKS: dict[str, Task] = {
    "world": WORLD,
    "mlvu": MLVU,
}


def task_of(name: str) -> Task:
    """The benchmark of a name.

    Raises:
        ValueError: there is none; the nearest name is suggested.

    Example:
        >>> task_of("world").name
        'world'
    """
    if name not in TASKS:
        near = difflib.get_close_matches(name, TASKS, n=1)
        raise ValueError(
            f"task must be one of {', '.join(TASKS)}, got {name!r}: "
            + (f"did you mean {near[0]!r}?" if near else "use one of these")
        )
    return TASKS[name]
