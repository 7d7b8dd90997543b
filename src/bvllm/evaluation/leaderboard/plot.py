"""Draw accuracy against tokens: a curve for each of some methods, the others in grey behind them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bvllm.evaluation.leaderboard.table import Standing

BLIND = "blind"
INTERVAL = "its 95 % interval"
NAMED = 6  # curves with a colour and a name, beside the reference
WIDTH, HEIGHT, DPI = 8.0, 4.6, 110


def needs_matplotlib() -> None:
    """Say what to install where there is nothing to plot with.

    Raises:
        ImportError: matplotlib is not installed.
    """
    try:
        import matplotlib  # noqa: F401
    except ModuleNotFoundError as error:
        raise ImportError("a plot needs matplotlib, got none: pip install 'bvllm[plot]'") from error


def plot(found: Sequence[Standing], reference: str, target: Path) -> Path:
    """Write the plot as PNG.

    Args:
        found: standings, the best first.
        reference: drawn strongest, with its interval.
        target: the file.

    Raises:
        ImportError: matplotlib is not installed.
    """
    needs_matplotlib()
    from matplotlib.figure import Figure

    figure = Figure((WIDTH, HEIGHT), layout="constrained")
    axes = figure.add_subplot()
    running = [one for one in found if one.refused is None and one.entry != BLIND]
    named = [one for one in running if one.entry != reference][:NAMED]
    for one in running:
        if one.entry == reference or one in named:
            continue
        axes.plot(*_curve(one), color="0.85", linewidth=0.8, zorder=1)
    for one in running:
        if one.entry == reference:
            _reference(axes, one)
    for one in named:
        axes.plot(*_curve(one), linewidth=1.3, marker="o", markersize=3, label=one.entry, zorder=2)
    for one in found:
        if one.entry == BLIND:
            axes.axhline(100 * one.right, color="0.4", linestyle=":", linewidth=1, label=BLIND)
    axes.set_xscale("log", base=2)
    ticks = sorted({cell.budget for one in running for cell in one.cells})
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.set_xlabel("visual tokens of a video")
    axes.set_ylabel("right answers, %")
    axes.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(target, dpi=DPI)
    return target


def _reference(axes: Any, one: Standing) -> None:
    """The strongest curve, with Wilson's interval: a band, or a bar where there is one budget."""
    budgets, shares = _curve(one)
    low = [100 * cell.right.low for cell in one.cells]
    high = [100 * cell.right.high for cell in one.cells]
    axes.plot(budgets, shares, color="black", linewidth=2.4, marker="o", label=one.entry, zorder=3)
    if len(budgets) == 1:
        axes.vlines(budgets, low, high, color="black", alpha=0.3, linewidth=3, zorder=0, label=INTERVAL)
    else:
        axes.fill_between(
            budgets, low, high, color="black", alpha=0.08, linewidth=0, zorder=0, label=INTERVAL
        )


def _curve(one: Standing) -> tuple[list[int], list[float]]:
    return [cell.budget for cell in one.cells], [100 * cell.right.mean for cell in one.cells]
