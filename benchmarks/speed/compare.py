"""Time several ways of the same work in turns on one thread."""

import statistics
import time
from collections.abc import Callable

# What a race found: milliseconds and ratios by name, and whether the results were the same.
Race = dict[str, float | bool | str]


def race(runs: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """The median of the process's CPU milliseconds of each, after one run that does not count.

    CPU time, since a busy neighbour does not lengthen it much.
    """
    took: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()
    for _ in range(rounds):
        for name, run in runs.items():
            started = time.process_time()
            run()
            took[name].append(1e3 * (time.process_time() - started))
    return {name: statistics.median(times) for name, times in took.items()}


def against(peer: Callable[[], object], ours: Callable[[], object], rounds: int) -> Race:
    """How many times as fast ours is."""
    took = race({"peer": peer, "ours": ours}, rounds)
    return {"ratio": took["peer"] / took["ours"], "peer_ms": took["peer"], "ours_ms": took["ours"]}
