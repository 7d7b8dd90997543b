"""Write a run as Markdown for people and as JSON for the next run.

`python -m benchmarks.speed.page` writes docs/performance.md from the recorded runs of the newest day.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.speed.result import Conditions, Figure

HEAD = """# Performance

Every figure is a ratio to a plain peer in the same run, or a size. The peers: PyAV decoding every frame,
torchcodec where it can be imported, the image processor and the vision tower of transformers, ToMe and
DivPrune as published, and the way of the paper's released code, which keeps every token
(`benchmarks/speed/baseline.py`). The targets were set on another machine, whose processor has AMX; where one
is missed here, it says so, and `benchmarks/results/README.md` says why.

G9's kernels, `primitives.merging` and `matching.farthest_first`, are made for other papers' methods;
B-VLLM's own `stages.merge_tokens` merges by its plan and does not call them.

This page is written from {runs} in `benchmarks/results` by `python -m benchmarks.speed.page`;
`make bench` measures anew. Speed on a GPU has not been measured: `benchmarks/gpu.py` waits for one.
What was killed, and what an hour and ten hours take in memory, stands in `benchmarks/results/README.md`.
"""
ROOT = Path(__file__).parents[2]
WORDS = {True: "yes", False: "**no**", None: ""}


def as_json(figures: list[Figure], conditions: Conditions) -> str:
    """One object: conditions and figures."""
    found = [{**asdict(figure), "met": figure.met} for figure in figures]
    return json.dumps({"conditions": asdict(conditions), "figures": found}, indent=1)


def read_run(path: Path) -> tuple[list[Figure], Conditions]:
    """A run that was written with `as_json`.

    Raises:
        ValueError: the file is no such run.
    """
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
        figures = [Figure(**{k: v for k, v in one.items() if k != "met"}) for one in run["figures"]]
        return figures, Conditions(**run["conditions"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"a recorded run must be JSON from `make bench` with `--json`, got {str(path)!r}: {error}"
        ) from error


def as_markdown(figures: list[Figure], conditions: Conditions, before: list[Figure] | None = None) -> str:
    """A table of the figures, the conditions, and the details; `before` adds what an earlier run measured."""
    earlier = {(f.goal, f.what): f.value for f in before or ()}
    head = ["goal", "what", "measured", "target", "reached", *(["before"] if before is not None else [])]
    rows = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for f in figures:
        sign = ">=" if f.at_least else "<="
        target = "" if f.target is None else f"{sign} {_number(f.target, f.unit)}"
        cells = [f.goal, f.what, _number(f.value, f.unit), target, WORDS[f.met]]
        if before is not None:
            known = earlier.get((f.goal, f.what))
            cells.append("" if known is None else _number(known, f.unit))
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join([*rows, "", _conditions(conditions), "", *_details(figures)])


def performance_page(runs: Sequence[Path]) -> str:
    """docs/performance.md, from recorded runs."""
    parts = [HEAD.format(runs=", ".join(f"`{run.name}`" for run in runs))]
    for run in runs:
        figures, conditions = read_run(run)
        parts += [f"## {_title(run)}", "", as_markdown(figures, conditions), ""]
    return "\n".join(parts)


def newest_runs() -> list[Path]:
    """The recorded runs of the last day that has any; their names begin with their dates."""
    runs = sorted((ROOT / "benchmarks" / "results").glob("*-speed*.json"))
    return [run for run in runs if run.name[:10] == runs[-1].name[:10]]


def _title(run: Path) -> str:
    """2026-01-31-speed-real-footage.json is about real footage."""
    words = run.stem.split("-")[3:]
    return " ".join(words).capitalize()


def _conditions(c: Conditions) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in c.versions.items())
    return (
        f"Measured {c.when} at commit `{c.commit}` with `{c.command}`: {c.processor}, {c.cores} cores, "
        f"{c.memory_gb:g} GB, bfloat16 by {c.bfloat16}, malloc {c.malloc}, load {c.load:g} at the start, "
        f"Python {c.python}, {versions}."
    )


def _details(figures: list[Figure]) -> list[str]:
    lines, told = [], []
    for f in figures:
        if f.details and f.details not in told:
            told.append(f.details)
            values = ", ".join(f"{name} {_plain(value)}" for name, value in f.details.items())
            lines.append(f"- {f.goal}, {f.what}: {values}")
    return lines


def _number(value: float, unit: str) -> str:
    return f"{value:.2f} x" if unit == "x" else f"{value:.3g} {unit}".rstrip()


def _plain(value: float | str | bool) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value).lower()


if __name__ == "__main__":
    (ROOT / "docs" / "performance.md").write_text(performance_page(newest_runs()), encoding="utf-8")
