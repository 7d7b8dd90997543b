"""Sec. 3.3: the order of time, and rows of S that become one."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bvllm.primitives.assignment import DROP
from bvllm.primitives.choice import choose
from bvllm.primitives.matching import cosine
from bvllm.stages.merge_frames import SimilarFrameMerging, order_by_time

seeds = st.integers(0, 10_000)


def rows(seed, queries=12, frames=5, tau=0.3):
    return choose(
        torch.randn(queries, frames, generator=torch.Generator().manual_seed(seed)), tau=tau, mode="softmax"
    )


def fan(*degrees):
    """Rows of two columns at these angles: the cosine of a pair is the cosine of its difference."""
    angle = torch.tensor([math.radians(d) for d in degrees])
    return torch.stack([angle.cos(), angle.sin()], dim=-1)


def merged(S, plan):
    return plan.mean(S, torch.ones(len(S)))


def test_order_by_time_by_hand_and_stable():
    S = torch.tensor([[0.0, 0.5, 0.5], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.5, 0.5]])
    assert order_by_time(S, torch.tensor([0.0, 10.0, 20.0])).tolist() == [1, 0, 3, 2]


@given(seeds)
def test_rows_end_up_in_the_order_of_time(seed):
    S, seconds = rows(seed), torch.tensor([0.0, 1.0, 4.0, 9.0, 9.5], dtype=torch.float64)
    times = (S.double() @ seconds)[order_by_time(S, seconds)]
    assert (times.diff() >= 0).all()


def test_equal_choices_become_one():
    S = torch.eye(4)[[0, 0, 2, 3, 3, 3]]
    plan = SimilarFrameMerging().assign(S)
    assert plan.target.tolist() == [0, 0, 1, 2, 2, 2]
    assert plan.sum(torch.ones(6)).tolist() == [2.0, 1.0, 3.0]
    assert torch.equal(merged(S, plan), torch.eye(4)[[0, 2, 3]])


def test_equal_choices_become_one_even_where_only_equal_ones_may():
    assert SimilarFrameMerging(threshold=1.0).assign(torch.eye(3)[[0, 2, 2]]).target.tolist() == [0, 1, 1]


def test_the_threshold_is_the_plain_cosine():
    # gamma = 0.75 is an angle of 41.4 degrees; the released (cos + 1) / 2 would be 60
    assert len(SimilarFrameMerging().assign(fan(0, 41))) == 1
    assert len(SimilarFrameMerging().assign(fan(0, 42))) == 2
    assert len(SimilarFrameMerging(released=True).assign(fan(0, 59))) == 1
    assert len(SimilarFrameMerging(released=True).assign(fan(0, 61))) == 2


def test_leaders_come_in_the_order_of_time():
    # 30 is like 0 and like 60; the earlier leader gets it. Their mean, at 15, is 45 away from 60.
    assert SimilarFrameMerging().assign(fan(0, 30, 60)).target.tolist() == [0, 0, 1]
    assert SimilarFrameMerging().assign(fan(60, 30, 0)).target.tolist() == [0, 0, 1]


def test_a_merged_frame_is_compared_by_the_row_of_its_leader():
    """Eq. 2 names rows of S, and no equation changes S: 60 is near the mean of 0 and 40, and stays."""
    S = fan(0, 40, 60)
    plan = SimilarFrameMerging().assign(S)
    assert plan.target.tolist() == [0, 0, 1]
    torch.testing.assert_close(merged(S, plan)[0], S[:2].mean(0))


def test_what_a_leader_took_leads_nobody():
    # 58 is near 40, which is gone by then: it leads itself.
    assert SimilarFrameMerging().assign(fan(0, 40, 58, 95)).target.tolist() == [0, 0, 1, 1]
    assert SimilarFrameMerging().assign(fan(0, 40, 58, 58, 62)).target.tolist() == [0, 0, 1, 1, 1]


@given(seeds, st.sampled_from([0.3, 0.75, 0.95]))
def test_merging_loses_nothing(seed, threshold):
    S = rows(seed)
    plan = SimilarFrameMerging(threshold).assign(S)
    size = plan.sum(torch.ones(len(S)))
    assert (plan.target != DROP).all()
    torch.testing.assert_close((merged(S, plan) * size[:, None]).sum(0), S.sum(0))
    torch.testing.assert_close(merged(S, plan).sum(-1), torch.ones(len(plan)))


@given(seeds, st.sampled_from([0.3, 0.75, 0.95]))
def test_no_two_leaders_are_alike(seed, threshold):
    S = rows(seed)
    leaders = S[SimilarFrameMerging(threshold).assign(S).anchor]
    assert cosine(leaders).fill_diagonal_(-1.0).max() < threshold


@given(seeds)
def test_leaders_are_the_earliest_of_their_group(seed):
    plan = SimilarFrameMerging().assign(rows(seed))
    assert (plan.anchor[plan.target] <= torch.arange(plan.inputs)).all()
    assert plan.anchor[0] == 0


def test_gradients_flow_through_merged_rows():
    logits = torch.randn(6, 4, requires_grad=True)
    S = choose(logits, tau=0.5, mode="softmax")
    (merged(S, SimilarFrameMerging(0.5).assign(S)) * torch.arange(4.0)).sum().backward()
    assert logits.grad.abs().sum(-1).min() > 0


def test_the_released_code_loses_what_joins_a_merged_row():
    # 50 goes to 0; 100 goes to 50, which is gone by then.
    plan = SimilarFrameMerging(released=True).assign(fan(0, 50, 100))
    assert plan.target.tolist() == [0, 0, DROP]
    assert plan.anchor.tolist() == [0]


def test_one_frame_of_32_queries_passes_unchanged():
    plan = SimilarFrameMerging().assign(torch.ones(32, 1))
    assert len(plan) == 1
    assert plan.sum(torch.ones(32)).tolist() == [32.0]


@pytest.mark.parametrize(
    "wrong, says",
    [
        (lambda: SimilarFrameMerging(threshold=0.0), r"threshold must lie in \(0, 1\], got 0.0"),
        (lambda: SimilarFrameMerging(threshold=1.5), r"threshold must lie in \(0, 1\], got 1.5"),
        (lambda: SimilarFrameMerging().assign(torch.zeros(2, 3, 4)), r"S must be .* got shape \(2, 3, 4\)"),
        (lambda: SimilarFrameMerging().assign(torch.zeros(0, 4)), r"S must be .* got shape \(0, 4\)"),
        (lambda: order_by_time(torch.eye(3), torch.zeros(2)), "one time for each of the 3 columns of S"),
    ],
)
def test_messages(wrong, says):
    with pytest.raises(ValueError, match=says):
        wrong()
