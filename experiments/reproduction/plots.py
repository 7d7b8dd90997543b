"""Plot a table: accuracy by duration with its intervals, as PNG and SVG."""

from pathlib import Path
from typing import TYPE_CHECKING

from experiments.reproduction.report import VIDEO, TableRecord
from experiments.reproduction.scale import VIDEO_COLUMNS

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
    figure = Figure(figsize=(3.2 * len(SIDES), 1.2 + 0.34 * len(found.rows)), layout="constrained")
    for place, side in enumerate(SIDES):
        _bars(figure.add_subplot(1, len(SIDES), place + 1), found, side, labels=place == 0)
    figure.suptitle(found.title, fontsize=11)
    paths = [folder / f"{found.name}.{kind}" for kind in ("png", "svg")]
    for path in paths:
        figure.savefig(path, dpi=140)
    return paths


def _bars(axes: "Axes", found: TableRecord, side: str, *, labels: bool) -> None:
    values = [row.accuracy[side] for row in found.rows]
    places = list(range(len(values)))
    low = [100 * (v.mean - v.low) for v in values]
    high = [100 * (v.high - v.mean) for v in values]
    colour = "#2f6f9f" if side == VIDEO else "#9dbcd4"
    axes.barh(places, [100 * v.mean for v in values], xerr=[low, high], color=colour, ecolor="#333333")
    axes.set_yticks(places, [row.label for row in found.rows] if labels else [""] * len(places))
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    axes.axvline(100 * found.chance[side], color="#999999", linewidth=0.8, linestyle="--")
    axes.set_title(f"{side}, % right", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
