"""A plan and what it carries out."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bvllm.primitives.assignment import DROP, Assignment


@st.composite
def merges(draw, inputs=None):
    """A plan in which every input joins an earlier one, or stays."""
    n = inputs if inputs is not None else draw(st.integers(1, 12))
    return Assignment.merge(torch.tensor([draw(st.integers(0, i)) for i in range(n)]))


@st.composite
def plans(draw, inputs=None):
    """A plan that merges, drops, or both."""
    n = inputs if inputs is not None else draw(st.integers(1, 12))
    if draw(st.booleans()):
        return draw(merges(n))
    kept = draw(st.sets(st.integers(0, n - 1), min_size=1))
    return Assignment.keep(torch.tensor(sorted(kept)), inputs=n)


def same(a, b):
    return torch.equal(a.target, b.target) and torch.equal(a.anchor, b.anchor)


def test_by_hand():
    plan = Assignment.merge(torch.tensor([0, 0, 2, 2, 4]))
    assert plan.target.tolist() == [0, 0, 1, 1, 2]
    assert plan.anchor.tolist() == [0, 2, 4]
    x = torch.tensor([[1.0], [4.0], [2.0], [6.0], [9.0]])
    assert plan.sum(x).flatten().tolist() == [5.0, 8.0, 9.0]
    # (1 * 1 + 4 * 2) / 3 = 3, (2 * 3 + 6 * 1) / 4 = 3, 9
    assert plan.mean(x, torch.tensor([1.0, 2.0, 3.0, 1.0, 5.0])).flatten().tolist() == [3.0, 3.0, 9.0]


def test_keep_drops_the_rest_and_keeps_the_order():
    plan = Assignment.keep(torch.tensor([4, 0, 2]), inputs=5)
    assert plan.target.tolist() == [0, DROP, 1, DROP, 2]
    assert plan.sum(torch.arange(5.0)).tolist() == [0.0, 2.0, 4.0]


def test_nothing_can_be_kept_or_merged():
    assert len(Assignment.keep(torch.tensor([], dtype=torch.long), inputs=3)) == 0
    empty = Assignment.merge(torch.tensor([], dtype=torch.long))
    assert (len(empty), empty.inputs) == (0, 0)
    nothing = Assignment.keep(torch.tensor([], dtype=torch.long), inputs=3)
    assert nothing.then(empty).sum(torch.ones(3, 2)).shape == (0, 2)


def test_a_chain_is_followed_to_its_end():
    n = 40
    assert Assignment.merge(torch.arange(n) - (torch.arange(n) > 0).long()).target.unique().tolist() == [0]


@given(st.data())
def test_then_is_associative_and_identity_is_neutral(data):
    a = data.draw(plans())
    b = data.draw(plans(len(a)))
    c = data.draw(plans(len(b)))
    assert same(a.then(b).then(c), a.then(b.then(c)))
    assert same(Assignment.identity(a.inputs).then(a), a)
    assert same(a.then(Assignment.identity(len(a))), a)


@given(st.data())
def test_two_plans_in_turn_do_what_both_at_once_do(data):
    a = data.draw(plans())
    b = data.draw(plans(len(a)))
    x = torch.randn(a.inputs, 3, dtype=torch.float64)
    size = torch.rand(a.inputs, dtype=torch.float64) + 0.1
    both = a.then(b)
    torch.testing.assert_close(both.sum(x), b.sum(a.sum(x)))
    torch.testing.assert_close(both.mean(x, size), b.mean(a.mean(x, size), a.sum(size)))
    assert torch.equal(x[both.anchor], x[a.anchor][b.anchor])


@given(merges())
def test_merging_loses_nothing(plan):
    x = torch.randn(plan.inputs, 4, dtype=torch.float64)
    size = torch.rand(plan.inputs, dtype=torch.float64) + 0.1
    torch.testing.assert_close(plan.sum(size).sum(), size.sum())
    weighed = (plan.mean(x, size) * plan.sum(size)[:, None]).sum(0)
    torch.testing.assert_close(weighed, (x * size[:, None]).sum(0))


@given(plans())
def test_anchors_ascend_and_join_their_own_output(plan):
    assert (plan.anchor.diff() > 0).all()
    assert torch.equal(plan.target[plan.anchor], torch.arange(len(plan)))


def test_half_precision_is_summed_in_single():
    x = torch.ones(4096, 1, dtype=torch.bfloat16)  # a bfloat16 counter stops at 256
    plan = Assignment.merge(torch.zeros(4096, dtype=torch.long))
    mean = plan.mean(x, torch.ones(4096))
    assert mean.dtype == torch.bfloat16
    assert mean.item() == 1.0


def test_gradients_reach_every_input():
    x = torch.randn(3, 2, requires_grad=True)
    Assignment.merge(torch.tensor([0, 0, 2])).mean(x, torch.tensor([1.0, 3.0, 1.0])).sum().backward()
    assert x.grad[:, 0].tolist() == [0.25, 0.75, 1.0]


@pytest.mark.parametrize(
    "wrong, says",
    [
        (
            lambda: Assignment(torch.zeros(2), torch.zeros(1, dtype=torch.long)),
            "target must be one row of integers",
        ),
        (lambda: Assignment.keep(torch.tensor([0, 4]), inputs=4), r"index must lie in 0\.\.3, got 0\.\.4"),
        (
            lambda: Assignment.keep(torch.tensor([1, 1]), inputs=4),
            r"index must name every entry once, got \[1, 1\]",
        ),
        (lambda: Assignment.merge(torch.tensor([0, 2])), r"into must lie in 0\.\.1, got 0\.\.2"),
        (lambda: Assignment.merge(torch.tensor([1, 2, 0])), "got a circle"),
        (lambda: Assignment.merge(torch.tensor([1, 0])), "got a circle"),
        (lambda: Assignment.identity(3).then(Assignment.identity(2)), "must decide about 3 entries, got 2"),
        (lambda: Assignment.identity(3).sum(torch.zeros(2)), "x must have 3 entries, got 2"),
    ],
)
def test_messages(wrong, says):
    with pytest.raises(ValueError, match=says):
        wrong()


def test_where_nothing_merges_rows_stay_as_they_are():
    x, size = torch.randn(6, 3), torch.tensor([3.0, 7.0, 1.0, 3.0, 5.0, 9.0])
    kept = Assignment.keep(torch.tensor([4, 0, 3]), inputs=6)
    assert torch.equal(kept.mean(x, size), x[[0, 3, 4]])
    # As many inputs as outputs, but two of them in one: that is a merge.
    merged = Assignment(torch.tensor([0, 0, 1, -1]), torch.tensor([0, 2, 3]))
    assert torch.equal(merged.mean(torch.ones(4, 1), torch.ones(4))[:2], torch.ones(2, 1))
    assert merged.sum(torch.ones(4)).tolist() == [2.0, 1.0, 0.0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_wide_mean_is_the_same_to_the_bit(dtype, monkeypatch):
    """Above a size, channels are averaged some at a time, for their memory."""
    drawn = torch.Generator().manual_seed(0)
    plan = Assignment.merge(torch.randint(20, (40,), generator=drawn).clamp_max(torch.arange(40)) // 2)
    x, size = torch.randn(40, 600, generator=drawn).to(dtype), torch.rand(40, generator=drawn) + 1
    whole = plan.mean(x, size)
    monkeypatch.setattr("bvllm.primitives.assignment.MOST_NUMBERS", 1)
    parts = []
    found = torch.split
    monkeypatch.setattr(torch, "split", lambda *given: parts.append(given) or found(*given))
    assert torch.equal(plan.mean(x, size), whole)
    assert parts
