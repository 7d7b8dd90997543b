"""Share a clip's tokens among its frames, each as a small grid of rows and columns (Dynamic-VLM).

Every frame of a clip stays, and the length of the clip decides how many tokens each may have. A frame is
pooled to a grid, so its count is a product of two sides; grids may differ from frame to frame, so that the
sum comes close to the budget at any number of frames.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

SPENT = 0.95  # of the tokens that could be spent, at least, before grids of other shapes are tried
# How much longer than wide the cells of a grid may be, relative to the patches: first near-squares, then any.
SHAPES = (1.5, 2.0, math.inf)
NEAR_SQUARE = 2.0  # the same, of a single grid: no cell is longer than two of its widths


class Grid(NamedTuple):
    """Rows and columns that a frame is pooled to."""

    rows: int
    columns: int

    @property
    def cells(self) -> int:
        """Tokens of the frame."""
        return self.rows * self.columns


def share_grids(frames: int, tokens: int, native: Grid) -> list[Grid]:
    """A grid for each of T frames: at most `tokens` cells in all, none above the native grid.

    At most three sizes in one clip, near to each other, larger ones spread evenly. What is spent is at least
    95 % of the most that T such grids can spend within the budget.

    Args:
        frames: T, at most `tokens`: see `frames_that_fit`.
        tokens: N_max, of the clip.
        native: rows and columns of the tower's patches.

    Raises:
        ValueError: there is no frame, or not a token for each.

    Source: Dynamic-VLM (arXiv 2412.09530) pools every frame of a clip to one square; from the note, its text
        was not at hand. Rectangles, and grids that differ within a clip, are ours.

    Example:
        >>> share_grids(3, 24, Grid(8, 8))
        [Grid(rows=3, columns=3), Grid(rows=2, columns=3), Grid(rows=3, columns=3)]
        >>> sum(grid.cells for grid in share_grids(121, 12_000, Grid(24, 24)))
        12000
    """
    _check(frames, tokens)
    most = min(tokens, frames * native.cells)
    found: list[int] = []
    for stretch in SHAPES:
        found = _two_sizes(frames, most, tuple(grid_of_cells(native, stretch)))
        if sum(found) >= SPENT * most:
            break
    else:
        best = _best_sizes(frames, most, tuple(grid_of_cells(native, math.inf)))
        found = best if sum(best) * SPENT > sum(found) else found
    shape = grid_of_cells(native, math.inf)
    return [shape[cells] for cells in _spread(found)]


def released_grids(frames: int, tokens: int, native: Grid) -> list[Grid]:
    """The authors' rule: one square for all frames, of side floor(sqrt(min(N_max // T, N))).

    It leaves up to a third of the budget unspent (18 % from 120 to 121 frames of 12 000 tokens). Where frames
    outnumber tokens it would break the budget, one token a frame; here that is refused.

    Raises:
        ValueError: there is no frame, or not a token for each.

    Source: the released code of Dynamic-VLM, from the note.

    Example:
        >>> released_grids(1, 12_000, Grid(24, 24)), released_grids(2, 50, Grid(8, 8))[0]
        ([Grid(rows=24, columns=24)], Grid(rows=5, columns=5))
    """
    _check(frames, tokens)
    side = math.isqrt(min(tokens // frames, native.cells))
    return [Grid(min(side, native.rows), min(side, native.columns))] * frames


def largest_grid(native: Grid, most: int) -> Grid:
    """The largest grid of at most `most` cells whose cells are no more than twice as long as wide.

    A count that has no such grid, such as a prime, is not met: thirteen cells in one row would keep nothing
    of what is up and what is down. Cells are measured in patches of the native grid; where that is so long
    and narrow that nothing else fits, a cell may be longer.

    Raises:
        ValueError: `most` is below 1.

    Example:
        >>> largest_grid(Grid(8, 8), 13), largest_grid(Grid(8, 8), 2), largest_grid(Grid(4, 8), 8)
        (Grid(rows=3, columns=4), Grid(rows=1, columns=2), Grid(rows=2, columns=4))
    """
    if most < 1:
        raise ValueError(f"most must be at least 1, got {most}: raise the budget")
    for stretch in (NEAR_SQUARE, math.inf):
        fitting = [grid for cells, grid in grid_of_cells(native, stretch).items() if cells <= most]
        if fitting:
            break
    return fitting[-1]


def frames_that_fit(frames: int, tokens: int, most: int) -> int:
    """How many of T frames can be kept: no more than `most`, and a token for each."""
    return min(frames, tokens, most)


@lru_cache(maxsize=64)
def grid_of_cells(native: Grid, stretch: float) -> dict[int, Grid]:
    """For every count that is rows times columns, the grid whose cells are nearest to the patches' shape.

    Args:
        native: the tower's grid.
        stretch: how much longer one way than the other a cell may be; 1 is the patches' own shape.

    Example:
        >>> grid_of_cells(Grid(3, 3), math.inf)[6], 5 in grid_of_cells(Grid(3, 3), math.inf)
        (Grid(rows=2, columns=3), False)
    """
    found: dict[int, tuple[float, Grid]] = {}
    for rows in range(1, native.rows + 1):
        for columns in range(1, native.columns + 1):
            across, down = native.columns / columns, native.rows / rows
            ratio = max(across / down, down / across)
            cells = rows * columns
            if ratio <= stretch and (cells not in found or ratio < found[cells][0]):
                found[cells] = (ratio, Grid(rows, columns))
    return {cells: found[cells][1] for cells in sorted(found)}


def _check(frames: int, tokens: int) -> None:
    if not 1 <= frames <= tokens:
        raise ValueError(
            f"frames must lie in 1..{tokens}, one token for each at least, got {frames}: thin the frames, or "
            "raise budget.tokens"
        )


def _two_sizes(frames: int, most: int, sizes: Sequence[int]) -> list[int]:
    """As many of the next larger size as fit beside the largest that all could have; one more grows in the
    rest.

    Nothing where no size is small enough.
    """
    fitting = [size for size in sizes if size * frames <= most]
    if not fitting:
        return []
    low = fitting[-1]
    high = next((size for size in sizes if size > low), low)
    more = min(frames, (most - low * frames) // (high - low)) if high > low else 0
    found = [high] * more + [low] * (frames - more)
    left = most - sum(found)
    grown = max((size for size in sizes if low < size <= low + left), default=low)
    return found if more == frames else [*found[:-1], grown]


@lru_cache(maxsize=256)
def _best_sizes(frames: int, most: int, sizes: tuple[int, ...]) -> list[int]:
    """Sizes of which so many add up to as much as can be: sums that can be reached, as bits of a number."""
    mask = (1 << (most + 1)) - 1
    reached = [1]
    for _ in range(frames):
        sums = 0
        for size in sizes:
            sums |= reached[-1] << size
        reached.append(sums & mask)
    left, found = reached[-1].bit_length() - 1, []
    for number in range(frames - 1, -1, -1):
        even = left / (number + 1)
        fits = [size for size in sizes if size <= left and reached[number] >> (left - size) & 1]
        found.append(min(fits, key=lambda size: abs(size - even)))
        left -= found[-1]
    return found


def _spread(sizes: Sequence[int]) -> list[int]:
    """The same sizes, each spread evenly over the clip: a larger grid stands for no time of its own."""
    counts = {size: sizes.count(size) for size in sorted(set(sizes), reverse=True)}
    places = [((2 * k + 1) / (2 * count), size) for size, count in counts.items() for k in range(count)]
    return [size for _, size in sorted(places)]
