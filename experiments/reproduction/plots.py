"""Plot a table: accuracy by duration with its intervals, a row of panels for each world, as PNG and SVG."""

from pathlib import Path
from typing import TYPE_CHECKING

from experiments.reproduction.records import VIDEO, TableRecord
from experiments.reproduction.scale import VIDEO_COLUMNS, World

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIDES = (VIDEO, *VIDEO_COLUMNS)


def draw(found: TableRecord, folder: Path) -> list[Path]:
    """Write `<name>.png` and `<name>.svg`.

    Raises:
        ImportError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("pictures need matplotlib: pip install 'bvllm[plot]'") from error
    across, down = len(SIDES), len(found.worlds)
    size = (3.2 * across, down * (1.2 + 0.34 * len(found.rows)))
    figure = Figure(figsize=size, layout="constrained")
    for row, world in enumerate(found.worlds):
        for place, side in enumerate(SIDES):
            axes = figure.add_subplot(down, across, row * across + place + 1)
            _bars(axes, found, world, side, labels=place == 0)
    figure.suptitle(found.title, fontsize=11)
    paths = [folder / f"{found.name}.{kind}" for kind in ("png", "svg")]
    for path in paths:
        figure.savefig(path, dpi=140)
    return paths


def _bars(axes: "Axes", found: TableRecord, world: World, side: str, *, labels: bool) -> None:
    """Bars of the rows that have a figure."""
    values = [row.worlds[world].accuracy[side] for row in found.rows]
    known = [(place, value) for place, value in enumerate(values) if value is not None]
    low = [100 * (v.mean - v.low) for _, v in known]
    high = [100 * (v.high - v.mean) for _, v in known]
    colour = "#2f6f9f" if side == VIDEO else "#9dbcd4"
    widths = [100 * v.mean for _, v in known]
    axes.barh([place for place, _ in known], widths, xerr=[low, high], color=colour, ecolor="#333333")
    axes.set_yticks(range(len(values)), [row.label if labels else "" for row in found.rows])
    axes.set_ylim(len(values) - 0.5, -0.5)
    axes.set_xlim(0, 100)
    chance = found.chance[world][side]
    if chance is not None:
        axes.axvline(100 * chance, color="#999999", linewidth=0.8, linestyle="--")
    axes.set_title(f"{world} world, {side}, % right", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
