"""Merging in one step gives what ToMe's steps give, bit for bit."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bvllm.primitives.assignment import Assignment
from bvllm.primitives.matching import match_bipartite
from bvllm.primitives.merging import merge_bipartite


def published(x, size, r):
    """ToMe (arXiv 2210.09461), Appendix D and its weighted average: rows that stay, then the odd rows."""
    unit = x / x.norm(dim=-1, keepdim=True)
    best, found = (unit[::2] @ unit[1::2].T).max(dim=-1)
    order = best.argsort(descending=True, stable=True)
    joins, stays = order[:r], order[r:]

    def merge(values):
        even, odd = values[::2], values[1::2]
        goal = found[joins, None].expand(-1, values.shape[1])
        return torch.cat([even[stays], odd.scatter_reduce(0, goal, even[joins], reduce="sum")])

    total = merge(size[:, None])
    place = torch.cat([2 * stays, torch.arange(1, len(x), 2)])
    return (merge(x * size[:, None]) / total)[place.argsort()], total[place.argsort(), 0]


@given(st.integers(2, 80), st.integers(0, 999), st.booleans(), st.data())
def test_it_is_tome_to_the_last_bit(rows, seed, sized, data):
    generator = torch.Generator().manual_seed(seed)
    pairs = data.draw(st.integers(0, rows // 2))
    x = torch.randn(rows, 5, generator=generator)
    size = torch.randint(1, 9, (rows,), generator=generator).float() if sized else torch.ones(rows)
    before = x.clone()
    merged = merge_bipartite(x, size, pairs)
    features, total = published(x, size, pairs)
    assert torch.equal(merged.features, features)
    assert torch.equal(merged.size, total)
    assert torch.equal(x, before)


def test_many_rows_that_join_one():
    x = torch.randn(300, 16)
    x[1] = 3.0
    x[::2] += x[1]  # even rows like this one odd row
    merged = merge_bipartite(x, torch.ones(300), 150)
    features, total = published(x, torch.ones(300), 150)
    assert merged.size.max() > 20
    assert torch.equal(merged.features, features)
    assert torch.equal(merged.size, total)


def test_it_is_the_plan_of_match_bipartite_carried_out():
    x, size = torch.randn(41, 6), torch.randint(1, 5, (41,)).float()
    plan = Assignment.merge(match_bipartite(x, 17))
    merged = merge_bipartite(x, size, 17)
    assert torch.equal(merged.anchor, plan.anchor)
    assert torch.equal(merged.size, plan.sum(size))
    torch.testing.assert_close(merged.features, plan.mean(x, size))


def test_messages():
    with pytest.raises(ValueError, match=r"pairs must lie in 0\.\.2 for 5 rows, got 3"):
        merge_bipartite(torch.ones(5, 2), torch.ones(5), 3)


def test_half_precision_is_rounded_once_and_counts_beyond_256():
    x, size = torch.randn(8, 4).bfloat16(), torch.tensor([300.0, 1, 257, 1, 1, 1, 1, 1])
    found, exact = merge_bipartite(x, size, 3), merge_bipartite(x.float(), size, 3)
    assert found.features.dtype == torch.bfloat16
    assert torch.equal(found.features, exact.features.bfloat16())
    assert torch.equal(found.size, exact.size)
    assert float(found.size.sum()) == float(size.sum())
