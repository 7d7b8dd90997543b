"""Work the rows of a leaderboard into cells and a table, with paired intervals against one entry."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median

from bvllm.evaluation.evaluate import Loss, Mean, Share
from bvllm.evaluation.leaderboard.rows import AnswerRow

MERGERS = "merge_frames "


@dataclass(frozen=True)
class Cell:
    """One method on one budget.

    Attributes:
        right: share of right answers, with Wilson's 95 % interval.
        behind: what the reference has more, on the same questions, with Newcombe's interval for pairs.
        tokens, frames: means of what was spent.
        method_ms, prefill_ms: medians.
        peak_mb: the most that any measured question took; None where none was.
    """

    entry: str
    budget: int
    right: Share
    behind: Loss
    tokens: float
    frames: float
    method_ms: float
    prefill_ms: float
    peak_mb: float | None


@dataclass(frozen=True)
class Standing:
    """One method over all budgets.

    Attributes:
        right: mean share over the budgets, each as heavy.
        behind: what the reference has more, averaged over the budgets for each question, then over questions;
            the interval is that of the mean over questions, which are what was drawn.
        refused: why it does not run on this model; nothing else is known then.
        merged: frames that became part of others, over all answers.
    """

    entry: str
    right: float
    behind: Mean
    cells: tuple[Cell, ...]
    refused: str | None = None
    merged: int = 0


def standings(rows: Sequence[AnswerRow], reference: str) -> list[Standing]:
    """Every method's standing, the best first; those that do not run come last.

    Args:
        reference: the entry that the others are compared with.
    """
    answered: dict[tuple[str, int], dict[str, AnswerRow]] = defaultdict(dict)
    refused: dict[str, str] = {}
    for row in rows:
        if row.refused is not None:
            refused[row.entry] = row.refused
        else:
            answered[row.cell][row.question] = row
    budgets = sorted({row.budget for row in rows})
    found = []
    for entry in dict.fromkeys(row.entry for row in rows):
        if entry in refused and not any(answered[entry, budget] for budget in budgets):
            nothing = Mean(math.nan, math.nan, math.nan, 0)
            found.append(Standing(entry, math.nan, nothing, (), refused[entry]))
            continue
        pairs = [(answered[reference, b], answered[entry, b]) for b in budgets if answered[entry, b]]
        cells = tuple(
            _cell(entry, budget, answered[entry, budget], answered[reference, budget])
            for budget in budgets
            if answered[entry, budget]
        )
        mean = sum(cell.right.mean for cell in cells) / len(cells)
        merged = sum(row.merged for row in rows if row.entry == entry)
        found.append(Standing(entry, mean, _over_questions(pairs), cells, merged=merged))
    return sorted(found, key=lambda one: -math.inf if one.refused else one.right, reverse=True)


def _over_questions(pairs: list[tuple[dict[str, AnswerRow], dict[str, AnswerRow]]]) -> Mean:
    """The mean difference of each question over the budgets on which both were asked.

    Few questions have a wide interval; shares cannot differ by more than 1.
    """
    apart: dict[str, list[float]] = defaultdict(list)
    for first, other in pairs:
        for question in first.keys() & other.keys():
            apart[question].append(float(first[question].right) - float(other[question].right))
    found = Mean.of([sum(some) / len(some) for _, some in sorted(apart.items())])
    return replace(found, low=max(-1.0, found.low), high=min(1.0, found.high)) if found.count else found


def _cell(entry: str, budget: int, mine: dict[str, AnswerRow], reference: dict[str, AnswerRow]) -> Cell:
    rows = list(mine.values())
    both = sorted(mine.keys() & reference.keys())
    measured = [row.peak_mb for row in rows if row.peak_mb is not None]
    return Cell(
        entry,
        budget,
        Share.of([float(row.right) for row in rows]),
        Loss.of([(reference[k].right, mine[k].right) for k in both]),
        sum(row.tokens for row in rows) / len(rows),
        sum(row.frames for row in rows) / len(rows),
        median(row.method_ms for row in rows),
        median(row.prefill_ms for row in rows),
        max(measured) if measured else None,
    )


def table(found: Sequence[Standing], reference: str) -> str:
    """The standings in Markdown: accuracy on every budget, and cost on the largest."""
    budgets = sorted({cell.budget for one in found for cell in one.cells})
    head = [f"{budget}" for budget in budgets]
    lines = [
        f"| method | {' | '.join(head)} | mean | behind {reference} | tokens | method ms | prefill ms "
        "| peak MB |",
        "|---|" + "---|" * (len(budgets) + 6),
    ]
    for one in found:
        if one.refused is not None:
            lines.append(f"| {one.entry} | does not run: {one.refused} |" + " |" * (len(budgets) + 5))
            continue
        by = {cell.budget: cell for cell in one.cells}
        shares = [f"{100 * by[b].right.mean:.1f}" if b in by else "-" for b in budgets]
        behind = "-"
        if one.entry != reference and one.behind.count:
            low, high = 100 * one.behind.low, 100 * one.behind.high
            behind = f"{100 * one.behind.mean:+.1f} ({low:+.1f} to {high:+.1f})"
        cost = one.cells[-1]
        peak = "-" if cost.peak_mb is None else f"{cost.peak_mb:.1f}"
        lines.append(
            f"| {one.entry} | {' | '.join(shares)} | {100 * one.right:.1f} | {behind} | {cost.tokens:.0f} | "
            f"{cost.method_ms:.1f} | {cost.prefill_ms:.1f} | {peak} |"
        )
    return "\n".join(lines)


def remarks(found: Sequence[Standing]) -> list[str]:
    """What a reader would not see in the figures: rows of a frame merger that met no two frames alike."""
    idle = [one.entry for one in found if one.entry.startswith(MERGERS) and one.cells and not one.merged]
    if not idle:
        return []
    return [
        f"{', '.join(idle)}: no frame was merged, so this is what stands beside it alone. A selector without "
        "weights chooses every frame once, and the paper merges queries that chose alike."
    ]
