import numpy as np
import pytest

from experiments.reproduction.statistics import Estimate, estimate


def test_mean_is_that_of_the_blocks_not_of_the_questions():
    blocks = [np.ones((2, 10)), np.zeros((2, 90))]
    assert estimate(blocks).mean == 0.5


def test_interval_holds_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(60):
        ability = 0.6 + rng.normal(0, 0.02, (4, 1))
        found = estimate([(rng.random((4, 300)) < ability).astype(float)])
        held += found.low <= 0.6 <= found.high
    assert 50 <= held <= 60


def test_seeds_that_disagree_widen_the_interval():
    alike = np.tile([0.0, 1.0], (3, 100))
    apart = np.stack([np.zeros(200), np.tile([0.0, 1.0], 100), np.ones(200)])
    narrow, wide = estimate([alike]), estimate([apart])
    assert narrow.mean == wide.mean == 0.5
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)


def test_estimates_repeat_themselves():
    values = [np.random.default_rng(1).random((2, 50))]
    assert estimate(values) == estimate(values)


@pytest.mark.parametrize(("low", "high", "sign"), [(0.1, 0.2, 1), (-0.1, 0.2, 0), (-0.2, -0.1, -1)])
def test_sign_needs_the_whole_interval(low, high, sign):
    assert Estimate((low + high) / 2, low, high).sign == sign
