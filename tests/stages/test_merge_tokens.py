"""Sec. 3.4, second half: tokens are folded together until they fit."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bvllm.stages.merge_tokens import BipartiteMerging
from bvllm.types import Tokens


def tokens(features, size=None):
    n = len(features)
    return Tokens(
        features,
        torch.arange(n) * 1.0,
        torch.ones(n) if size is None else size,
        torch.arange(n),
        torch.arange(n) % 3,
        torch.arange(n) % 5,
    )


def random_tokens(n, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return tokens(
        torch.randn(n, 6, generator=generator), torch.randint(1, 5, (n,), generator=generator).float()
    )


def fold(x, keep):
    return x.reduce(BipartiteMerging().assign(x, keep))


def test_by_hand_sizes_are_carried_between_rounds():
    # Round 1: 0 joins 1, (1, 0) of size 2; 2 joins 3, (0, 3) of size 2. Round 2: both, (0.5, 1.5).
    x = tokens(torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 2.0], [0.0, 4.0]]))
    two, one = fold(x, 2), fold(x, 1)
    assert two.features.tolist() == [[1.0, 0.0], [0.0, 3.0]]
    assert two.size.tolist() == [2.0, 2.0]
    assert one.features.tolist() == [[0.5, 1.5]]
    # Five tokens: round 1 leaves sizes 2, 2, 1, and the mean must weigh them so.
    five = tokens(torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 2.0], [0.0, 4.0], [0.0, 9.0]]))
    torch.testing.assert_close(fold(five, 1).features, five.features.mean(0, keepdim=True))


def test_the_last_merge_is_partial_and_takes_the_closest_pairs():
    x = tokens(torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.5, 1.0], [-1.0, 0.0], [-1.0, 1.0]]))
    assert BipartiteMerging().assign(x, 5).target.tolist() == [0, 0, 1, 2, 3, 4]
    assert BipartiteMerging().assign(x, 4).target.tolist() == [0, 0, 1, 1, 2, 3]


@given(st.integers(1, 70), st.integers(1, 80), st.integers(0, 999))
def test_ends_exactly_on_the_budget_and_loses_nothing(n, keep, seed):
    x = random_tokens(n, seed)
    y = fold(x, keep)
    assert len(y) == min(n, keep)
    torch.testing.assert_close(y.size.sum(), x.size.sum())
    weighed = [(t.features * t.size[:, None]).sum(0) for t in (x, y)]
    torch.testing.assert_close(*weighed, atol=1e-4, rtol=1e-4)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 999))
def test_order_and_place_survive(n, keep, seed):
    x = random_tokens(n, seed)
    y = fold(x, keep)
    assert (y.frame.diff() > 0).all()
    assert torch.equal(y.seconds, x.seconds[y.frame])
    assert torch.equal(y.row, x.row[y.frame])
    assert torch.equal(y.column, x.column[y.frame])


def test_what_fits_is_left_alone():
    x = random_tokens(8)
    assert torch.equal(fold(x, 8).features, x.features)
    assert torch.equal(fold(fold(x, 5), 5).features, fold(x, 5).features)


def test_the_papers_numbers_and_every_bit_the_same_again():
    bag = Tokens.of(torch.randn(20, 32, 16), torch.arange(20.0))
    once, again = (fold(bag, 512) for _ in range(2))
    assert len(once) == 512
    assert torch.equal(once.features, again.features)
    assert torch.equal(once.frame, again.frame)


def test_equal_tokens_merge_the_same_way_every_time():
    plans = [BipartiteMerging().assign(tokens(torch.ones(40, 3)), 7) for _ in range(3)]
    assert all(torch.equal(plan.target, plans[0].target) for plan in plans)


def test_gradients_reach_every_token():
    features = torch.randn(9, 4, requires_grad=True)
    fold(tokens(features), 4).features.sum().backward()
    assert features.grad.abs().min() > 0


@pytest.mark.parametrize("keep", [0, -3])
def test_messages(keep):
    with pytest.raises(ValueError, match=rf"keep must be at least 1, got {keep}: raise budget\.tokens"):
        BipartiteMerging().assign(random_tokens(3), keep)
