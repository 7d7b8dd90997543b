"""Budgets inside the language model: the mean over the layers is a promise, too."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bvllm.methods import METHODS
from bvllm.stages.schedule import Schedule, Shape

INNER = METHODS["prune_layers"]
NAMES = st.sampled_from(sorted(INNER))


@given(NAMES, st.integers(1, 400), st.integers(2, 40), st.integers(1, 3), st.data())
def test_the_mean_over_the_layers_is_within_the_budget(name, budget, layers, first, data):
    method = INNER[name]()
    first = min(first, layers - 1)
    most = method.entering(budget, layers, first)
    assert most >= budget
    tokens = data.draw(st.integers(1, most))
    schedule = method.schedule(tokens, budget, layers, first)
    assert sum(schedule.counts) <= budget * layers
    assert len(schedule.counts) == layers
    assert set(schedule.counts[:first]) == {tokens}, "the first layers see all"
    if tokens <= budget:
        assert schedule.cuts == ()
    else:
        assert schedule.mean > budget - 1, "as near as whole tokens allow"


@pytest.mark.parametrize("name", INNER)
def test_as_many_as_may_enter_are_pruned_as_published(name):
    method = INNER[name]()
    layers = method.depth
    tokens = method.entering(4000, layers)
    schedule = method.schedule(tokens, 4000, layers)
    for share, count in zip(method.shape(layers).shares, schedule.counts):
        assert count / tokens == pytest.approx(share, abs=2e-3)
    assert schedule.mean == pytest.approx(4000, abs=1)
    with pytest.raises(
        ValueError, match=rf"tokens must be at most {tokens} for a mean of 4000 over {layers}"
    ):
        method.schedule(tokens + 1, 4000, layers)


def test_fewer_tokens_are_pruned_less_at_every_layer():
    shape = INNER["pyramiddrop"]().shape(32)
    published, fewer = shape.schedule(480, 225), shape.schedule(300, 225)
    assert (published.counts[8], published.counts[16], published.counts[24]) == (240, 120, 60)
    assert fewer.mean == pytest.approx(225, abs=1)
    gone = [1 - count / 300 for count in (fewer.counts[8], fewer.counts[16], fewer.counts[24])]
    assert gone[1] / gone[0] == pytest.approx(1.5, abs=0.05), "in the published proportion"
    assert gone[2] / gone[0] == pytest.approx(1.75, abs=0.05)


def test_layers_lie_at_the_same_heights_of_another_model():
    assert INNER["pyramiddrop"]().schedule(480, 225, 28).cuts == (7, 14, 21)
    assert INNER["fastv"]().schedule(100, 60, 28).cuts == (2,)
    assert INNER["fastv"]().schedule(100, 90, 28, first=3).cuts == (3,)
    assert INNER["aim"]().schedule(112, 74, 28).counts[20:] == (28, 14, *(0,) * 6), "none is left in the end"


def test_wrong_use_is_refused():
    with pytest.raises(ValueError, match=r"counts must be one for each layer, and never rise, got \(3, 4\)"):
        Schedule((3, 4))
    with pytest.raises(ValueError, match="language model must have more than 1 layers for tokens"):
        Shape.of(((2, 0.5),), depth=32, layers=1)
