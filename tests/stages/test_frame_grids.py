"""Grids of frames: never above budget or tower, close to the best at any number of frames."""

import itertools
import math
import random

import pytest

from bvllm.stages.frame_grids import Grid, frames_that_fit, largest_grid, released_grids, share_grids
from tests.test_messages import HOUSE

NATIVE = Grid(24, 24)


@pytest.mark.parametrize(
    "native", [Grid(8, 8), Grid(24, 24), Grid(6, 12), Grid(12, 3), Grid(1, 13), Grid(13, 1)]
)
def test_the_largest_grid_is_near_to_the_native_shape(native):
    """Never above the count, never a row where there is a rectangle, all of it where all fits."""
    for most in range(1, native.cells + 1):
        found = largest_grid(native, most)
        assert found.cells <= most
        assert found.rows <= native.rows
        assert found.columns <= native.columns
        near = [
            Grid(rows, columns)
            for rows, columns in itertools.product(range(1, native.rows + 1), range(1, native.columns + 1))
            if stretched(native, Grid(rows, columns)) <= 2 and rows * columns <= most
        ]
        assert not near or found.cells == max(grid.cells for grid in near)
        assert not near or stretched(native, found) <= 2
    assert largest_grid(native, native.cells) == native
    with pytest.raises(ValueError, match=HOUSE):
        largest_grid(native, 0)


def stretched(native, grid):
    """How much longer one way than the other a cell is."""
    down, across = native.rows / grid.rows, native.columns / grid.columns
    return max(across / down, down / across)


def best_sum(frames, tokens, native):
    """The most that so many rectangles can spend, by trying which sums can be reached."""
    sizes = {r * c for r, c in itertools.product(range(1, native.rows + 1), range(1, native.columns + 1))}
    sums = {0}
    for _ in range(frames):
        sums = {s + size for s in sums for size in sizes if s + size <= tokens}
    return max(sums)


def test_two_thousand_clips_keep_the_budget_and_spend_nearly_all_of_it():
    draw, short = random.Random(5), 0
    for _ in range(2000):
        native = Grid(draw.choice([1, 2, 3, 8, 16, 24, 27]), draw.choice([1, 3, 5, 8, 16, 24, 27]))
        frames = draw.choice([1, 2, 3, draw.randint(1, 60), draw.randint(1, 400)])
        tokens = draw.choice([frames + draw.randint(0, 30), draw.randint(frames, 12_000 + frames)])
        grids = share_grids(frames, tokens, native)
        spent = sum(grid.cells for grid in grids)
        assert len(grids) == frames
        assert spent <= tokens
        assert all(1 <= g.rows <= native.rows and 1 <= g.columns <= native.columns for g in grids)
        if spent < 0.95 * min(tokens, frames * native.cells):  # which no choice of grids can be above
            short += 1
            assert frames * tokens < 200_000, "too large to try all"
            assert spent >= 0.95 * best_sum(frames, tokens, native)
    assert short  # the exact comparison was needed, and passed


def test_small_clips_are_compared_with_every_choice():
    for rows, columns, frames in itertools.product((2, 3, 5), (3, 4), (1, 2, 3, 4)):
        native = Grid(rows, columns)
        for tokens in range(frames, frames * native.cells + 3):
            spent = sum(grid.cells for grid in share_grids(frames, tokens, native))
            assert 0.95 * best_sum(frames, tokens, native) <= spent <= tokens


def test_one_frame_more_costs_no_budget_where_the_released_rule_loses_a_fifth():
    ours, theirs = (
        [sum(g.cells for g in rule(frames, 12_000, NATIVE)) for frames in (120, 121)]
        for rule in (share_grids, released_grids)
    )
    assert min(ours) >= 0.99 * 12_000
    assert theirs == [12_000, 9_801]


def test_grids_of_a_clip_are_alike_and_near_to_squares_where_that_is_cheap():
    grids = share_grids(100, 8_000, NATIVE)
    assert len(set(grids)) <= 3
    assert all(max(g) / min(g) <= 1.5 for g in grids)
    larger = [k for k, g in enumerate(grids) if g == max(grids, key=lambda g: g.cells)]
    assert max(b - a for a, b in itertools.pairwise(larger)) <= 2 * math.ceil(100 / len(larger))


def test_a_short_clip_keeps_the_towers_own_grid():
    assert share_grids(3, 12_000, NATIVE) == [NATIVE] * 3


@pytest.mark.parametrize("rule", [share_grids, released_grids])
@pytest.mark.parametrize("frames, tokens", [(0, 4), (5, 4)])
def test_frames_without_a_token_are_refused(rule, frames, tokens):
    with pytest.raises(ValueError, match=r"frames must lie in 1\.\.4") as error:
        rule(frames, tokens, NATIVE)
    assert HOUSE.search(str(error.value))


def test_as_many_frames_fit_as_there_are_tokens_and_room():
    assert [frames_that_fit(300, tokens, 256) for tokens in (12_000, 100)] == [256, 100]
