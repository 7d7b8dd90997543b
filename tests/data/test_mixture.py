"""The order of the data: no row lost, none doubled, and the same order whenever it is asked for."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bvllm.data.budget import RandomBudget
from bvllm.data.mixture import Mixture, RowSet, shuffled

sizes = st.lists(st.integers(1, 40), min_size=1, max_size=4)


def mixture(sizes, weights=None, **settings):
    weights = weights or [None] * len(sizes)
    parts = [
        RowSet(f"p{k}", range(1000 * k, 1000 * k + n), w) for k, (n, w) in enumerate(zip(sizes, weights))
    ]
    return Mixture(parts, **settings)


@settings(max_examples=30)
@given(st.integers(1, 300), st.integers(0, 2**70), st.integers(0, 9))
def test_a_shuffle_is_a_permutation(size, seed, epoch):
    assert sorted(shuffled(k, size, seed, epoch) for k in range(size)) == list(range(size))


def test_a_shuffle_shuffles():
    """Each thing comes to each place equally often; 16 degrees of freedom, p < 1e-6 beyond 62."""
    for size, keys in ((5, 400), (3, 400)):
        seen = Counter((k, shuffled(k, size, key)) for key in range(keys) for k in range(size))
        expected = keys / size
        assert sum((n - expected) ** 2 / expected for n in seen.values()) < 62
    moved = [abs(shuffled(k, 10_000, 3) - k) for k in range(0, 10_000, 11)]
    assert 3000 < sum(moved) / len(moved) < 3700  # a third of the size, as for uniform pairs


def test_the_order_is_fixed_for_good():
    """A checkpoint holds a seed and a position: another order under that seed would break every resume."""
    assert [shuffled(k, 10, 1, 2) for k in range(10)] == [6, 2, 5, 9, 8, 0, 3, 7, 4, 1]
    assert [RandomBudget(64, 512, seed=5).at(k) for k in range(4)] == [113, 189, 315, 89]


@settings(max_examples=30)
@given(sizes, st.integers(0, 2**40), st.booleans(), st.integers(0, 3))
def test_every_row_once_an_epoch(sizes, seed, shuffle, epoch):
    order = mixture(sizes, seed=seed, shuffle=shuffle)
    rows = [order[epoch * len(order) + k] for k in range(len(order))]
    assert sorted(rows) == sorted(row for k, n in enumerate(sizes) for row in range(1000 * k, 1000 * k + n))


@settings(max_examples=20)
@given(st.lists(st.tuples(st.integers(1, 20), st.floats(0.2, 5)), min_size=1, max_size=3), st.integers(1, 3))
def test_weights_are_kept_and_no_row_comes_again_before_its_set_is_through(parts, epochs):
    sizes, weights = zip(*parts)
    order = mixture(sizes, weights, rows_per_epoch=40)
    seen = Counter(order[k] for k in range(40 * epochs))
    for k, (size, weight) in enumerate(parts):
        counts = [seen[1000 * k + row] for row in range(size)]
        assert max(counts) - min(counts) <= 1
        assert abs(sum(counts) / epochs - 40 * weight / sum(weights)) < 1
    assert sum(order.counts) == 40


def test_epochs_and_seeds_differ():
    order, other = mixture([50]), mixture([50], seed=1)
    first, second = ([order[e * 50 + k] for k in range(50)] for e in (0, 1))
    assert first != second
    assert first != [other[k] for k in range(50)]
    assert [mixture([50], shuffle=False)[k] for k in range(50)] == list(range(50))


@pytest.mark.parametrize("world", [1, 2, 4])
def test_a_stand_in_is_of_the_same_set_and_always_the_same(world):
    order = mixture([5, 50])
    for position in range(0, 20, world):
        picks = [order.stand_in(position, attempt) for attempt in range(20)]
        assert picks == [order.stand_in(position, attempt) for attempt in range(20)]
        assert {pick.part for pick in picks} == {order.pick(position).part}
        assert len({pick.row for pick in picks}) > 3


def test_a_state_fits_only_the_same_data():
    order = mixture([3, 4], [1, 2])
    order.load_state_dict(mixture([3, 4], [1, 2]).state_dict())
    for other in (mixture([3, 4]), mixture([3, 5], [1, 2]), mixture([3, 4], [1, 2], seed=1)):
        with pytest.raises(ValueError, match="the mixture must be the one that the run began with"):
            order.load_state_dict(other.state_dict())


def test_wrong_use():
    with pytest.raises(
        ValueError, match=r"weights must be positive, for all parts or for none, got \[1, None\]"
    ):
        mixture([1, 1], [1, None])
    with pytest.raises(
        ValueError, match=r"weights must be positive, for all parts or for none, got \[1, 0\]"
    ):
        mixture([1, 1], [1, 0])
    with pytest.raises(
        ValueError, match=r"weight of 'p1' must give it a row an epoch, got 0\.01: raise it or"
    ):
        mixture([3, 3], [1, 0.01])
    with pytest.raises(ValueError, match=r"parts must be at least one, of different names, got \[\]"):
        Mixture([])
    with pytest.raises(ValueError, match=r"parts must be at least one, of different names, got \['a', 'a'\]"):
        Mixture([RowSet("a", range(2)), RowSet("a", range(2))])
    with pytest.raises(ValueError, match=r"place must be in 0\.\.4, got 5: take it modulo the size"):
        shuffled(5, 5)


def test_a_budget_covers_its_range_and_follows_the_step_alone():
    draws = [RandomBudget(4, 64).at(step) for step in range(4000)]
    assert (min(draws), max(draws)) == (4, 64)
    octaves = Counter(draw.bit_length() for draw in draws)  # 4-7, 8-15, 16-31, 32-63
    assert all(abs(octaves[bits] - 1000) < 150 for bits in (3, 4, 5, 6))
    assert {RandomBudget(8, 8).at(step) for step in range(50)} == {8}
    for fewest, most in ((0, 4), (5, 4)):
        with pytest.raises(
            ValueError, match=rf"fewest must be in 1\.\.most, got {fewest} and {most}: the range"
        ):
            RandomBudget(fewest, most)
