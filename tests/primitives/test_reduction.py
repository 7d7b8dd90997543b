"""Weights that overlap, are negative or add up: what an assignment cannot say."""

import pytest
import torch
from torch.nn import functional

from bvllm.primitives.assignment import Assignment
from bvllm.primitives.pooling import pooling_weights
from bvllm.primitives.reduction import Reduction


def dense(plan):
    matrix = torch.zeros(plan.outputs, plan.inputs)
    matrix[plan.output, plan.input] = plan.weight
    return matrix


def test_an_adaptive_pool_that_overlaps_is_one():
    """24 columns to 10: eight of them fall into two bins, which no assignment can say."""
    pool = Reduction.dense(pooling_weights(24, 10))
    assert int((torch.bincount(pool.input) == 2).sum()) == 8
    x = torch.randn(24, 3)
    torch.testing.assert_close(pool.combine(x), functional.adaptive_avg_pool1d(x.mT[None], 10)[0].mT)
    assert (
        pool.count(torch.ones(24)).tolist() == [3, 3, 4, 3, 3, 3, 3, 4, 3, 3]
        or pool.count(torch.ones(24)).min() >= 3
    )
    assert (pool.anchor.diff() > 0).all()


def test_a_cosine_transform_and_contextual_sums_are_ones():
    k, n = torch.arange(4)[:, None], torch.arange(8)
    transform = Reduction.dense(torch.cos(torch.pi * (n + 0.5) * k / 8))
    x = torch.randn(8, 2)
    torch.testing.assert_close(transform.combine(x), torch.cos(torch.pi * (n + 0.5) * k / 8) @ x)
    contextual = Reduction.dense(torch.tensor([[1.0, 0.5, 0.5]]))  # a centre and the mean of who joined it
    assert contextual.combine(torch.tensor([2.0, 4.0, 6.0])).tolist() == [7.0]
    assert contextual.count(torch.ones(3)).tolist() == [3.0]
    assert contextual.anchor.tolist() == [0]


@pytest.mark.parametrize("seed", range(5))
def test_two_stages_are_their_product(seed):
    generator = torch.Generator().manual_seed(seed)
    first = torch.rand(6, 10, generator=generator).sub(0.6).clamp_min(0) + torch.eye(6, 10)
    second = torch.rand(3, 6, generator=generator).sub(0.6).clamp_min(0) + torch.eye(3, 6)
    both = Reduction.dense(first).then(Reduction.dense(second))
    torch.testing.assert_close(dense(both), second @ first)


@pytest.mark.parametrize("seed", range(5))
def test_an_assignment_is_the_special_case(seed):
    generator = torch.Generator().manual_seed(seed)
    into = torch.randint(0, 9, (9,), generator=generator).minimum(torch.arange(9))
    plan, size = Assignment.merge(into), torch.randint(1, 5, (9,), generator=generator).float()
    x, same = torch.randn(9, 4, generator=generator), plan.reduction(size)
    torch.testing.assert_close(same.combine(x), plan.combine(x, size))
    assert torch.equal(same.count(size), plan.count(size))
    kept = Assignment.keep(torch.tensor([7, 2]), 9)
    assert torch.equal(kept.reduction().combine(x), x[[2, 7]])
    assert kept.reduction().used.tolist() == [k in (2, 7) for k in range(9)]


def test_gradients_reach_what_is_combined():
    x = torch.randn(3, 2, requires_grad=True)
    Reduction.dense(torch.tensor([[0.25, 0.75, 0.0]])).combine(x).sum().backward()
    assert x.grad[:, 0].tolist() == [0.25, 0.75, 0.0]


def test_half_precision_is_summed_in_float32():
    x = torch.full((4096, 1), 0.1, dtype=torch.bfloat16)
    mean = Reduction.dense(torch.full((1, 4096), 1 / 4096)).combine(x)
    assert mean.dtype == torch.bfloat16
    assert mean.item() == pytest.approx(x[0].item(), rel=1e-6)


def test_blocks_and_cells_say_where_each_entry_lies():
    blocks = Reduction.blocks(torch.tensor([[[1.0, 0.0]], [[0.25, 0.75]]]))
    assert dense(blocks).tolist() == [[1, 0, 0, 0], [0, 0, 0.25, 0.75]]
    assert dense(Reduction.dense(torch.tensor([[0.5, 0.5]])).within(2)).tolist() == [
        [0.5, 0, 0.5, 0],
        [0, 0.5, 0, 0.5],
    ]
    assert Reduction.dense(torch.tensor([[1.0, 3.0]])).centre(torch.tensor([0.0, 4.0])).tolist() == [3.0]


@pytest.mark.parametrize(
    "wrong, says",
    [
        (
            lambda: Reduction.dense(torch.tensor([[1.0], [0.0]])),
            "every one of 2 outputs must have an input .* got 1",
        ),
        (
            lambda: Reduction.of(*torch.tensor([[0], [5]]), torch.ones(1), 1, 3),
            r"input must lie in 0\.\.2, got 5\.\.5",
        ),
        (lambda: Reduction.dense(torch.eye(2)).combine(torch.zeros(3)), "x must have 2 entries, got 3"),
        (lambda: Reduction.dense(torch.eye(2)).count(torch.zeros(3)), "size must have 2 entries, got 3"),
        (
            lambda: Reduction.dense(torch.eye(2)).then(Reduction.dense(torch.eye(3))),
            "the later reduction must be of 2 entries, got 3",
        ),
        (
            lambda: Reduction(torch.zeros(2).long(), torch.zeros(1).long(), torch.ones(2), 1, 1),
            "output, input and weight must have one entry each",
        ),
    ],
)
def test_messages(wrong, says):
    with pytest.raises(ValueError, match=says):
        wrong()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_a_wide_sum_is_what_a_small_one_is(dtype, monkeypatch):
    """Above a size, inputs are not copied for every output that they have a share in."""
    drawn = torch.Generator().manual_seed(0)
    weights = torch.randn(7, 40, generator=drawn) * (torch.rand(7, 40, generator=drawn) < 0.5)
    plan, x = Reduction.dense(weights), torch.randn(40, 600, generator=drawn).to(dtype)
    small = plan.combine(x)
    monkeypatch.setattr("bvllm.primitives.reduction.MOST_PRODUCTS", 1)
    monkeypatch.setattr(torch.Tensor, "index_add", lambda *_: pytest.fail("the copy was made"))
    wide = plan.combine(x)
    assert wide.dtype == dtype
    torch.testing.assert_close(wide, small, rtol=1e-2 if dtype == torch.bfloat16 else 1e-5, atol=1e-5)
