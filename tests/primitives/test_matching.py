"""Cosine, and who goes with whom."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from bvllm.primitives.matching import closest_pairs, cosine, farthest_first, match_bipartite, match_earlier


def test_match_earlier_takes_the_most_similar_earlier_row():
    x = torch.tensor([[1.0, 0.0], [1.0, 0.5], [1.0, 0.4], [0.0, -1.0]])
    assert match_earlier(x, threshold=0.8).tolist() == [0, 0, 1, 3]
    assert match_earlier(x, threshold=1.0).tolist() == [0, 1, 2, 3]


def test_match_bipartite_by_hand():
    # evens 0, 2, 4 look at odds 1, 3: 0 finds 3 (cosine 0.99), 2 finds 1 (1.0), 4 finds 3 (0.60)
    x = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 2.0], [1.0, 0.1], [0.5, -0.8]])
    assert match_bipartite(x, pairs=0).tolist() == [0, 1, 2, 3, 4]
    assert match_bipartite(x, pairs=1).tolist() == [0, 1, 1, 3, 4]
    assert match_bipartite(x, pairs=2).tolist() == [3, 1, 1, 3, 4]


def test_ties_go_to_the_earlier_row():
    assert match_bipartite(torch.ones(6, 2), pairs=2).tolist() == [1, 1, 1, 3, 4, 5]


@given(st.integers(1, 20), st.data())
def test_match_bipartite_joins_exactly_so_many_even_rows_to_odd_ones(rows, data):
    pairs = data.draw(st.integers(0, rows // 2))
    x = torch.randn(rows, 3, generator=torch.Generator().manual_seed(data.draw(st.integers(0, 999))))
    into = match_bipartite(x, pairs)
    moved = (into != torch.arange(rows)).nonzero()[:, 0]
    assert len(moved) == pairs
    assert (moved % 2 == 0).all()
    assert (into[moved] % 2 == 1).all()
    if 0 < pairs < rows // 2:
        best = cosine(x[::2], x[1::2]).max(-1).values
        left = [i for i in range(0, rows, 2) if i not in moved.tolist()]
        assert best[moved // 2].min() >= best[torch.tensor(left) // 2].max()


@given(st.integers(1, 10), st.data())
def test_farthest_first_chooses_distinct_rows(rows, data):
    keep = data.draw(st.integers(1, rows))
    chosen = farthest_first(torch.randn(rows, 4), keep).tolist()
    assert len(chosen) == len(set(chosen)) == keep


def test_farthest_first_chooses_by_max_min_distance():
    angle = torch.tensor([0.0, 0.1, 0.2, 2.0, 3.0])
    x = torch.stack([angle.cos(), angle.sin()], dim=-1)
    # 3 and 4 are each other's neighbours at 1 rad; 3 comes first, then what is farthest from it: 0
    assert farthest_first(x, 3).tolist() == [3, 0, 4]


@given(st.integers(2, 60), st.data())
def test_farthest_first_chooses_what_the_whole_matrix_of_distances_chooses(rows, data):
    """DivPrune (arXiv 2503.02175), Sec. 3.3, word for word: the minimum over all chosen, anew each time."""
    keep = data.draw(st.integers(1, rows))
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 999)))
    x = torch.randn(rows, 8, generator=generator, dtype=torch.float64)  # rounding may swap near-ties
    distance = (1 - cosine(x)).fill_diagonal_(torch.inf)
    chosen = [int(distance.min(dim=1).values.argmax())]
    while len(chosen) < keep:
        nearest = distance[chosen].min(dim=0).values
        nearest[chosen] = -torch.inf
        chosen.append(int(nearest.argmax()))
    assert farthest_first(x, keep).tolist() == chosen


def test_farthest_first_searches_in_parts(monkeypatch):
    x = torch.randn(50, 8)
    whole = farthest_first(x, 20)
    monkeypatch.setattr("bvllm.primitives.matching.ROWS_AT_A_TIME", 7)
    assert torch.equal(farthest_first(x, 20), whole)


def test_closest_pairs_come_closest_first():
    x = torch.randn(30, 4)
    even, odd = closest_pairs(x, 12)
    near = cosine(x)[even, odd]
    assert (near.diff() <= 0).all()
    assert torch.equal(match_bipartite(x, 12)[even], odd)
    assert [len(part) for part in closest_pairs(x, 0)] == [0, 0]


@pytest.mark.parametrize(
    "wrong, says",
    [
        (lambda: match_bipartite(torch.zeros(5, 2), 3), r"pairs must lie in 0\.\.2 for 5 rows, got 3"),
        (lambda: match_bipartite(torch.zeros(5, 2), -1), r"pairs must lie in 0\.\.2 for 5 rows, got -1"),
        (lambda: farthest_first(torch.zeros(5, 2), 6), r"keep must lie in 1\.\.5, got 6"),
    ],
)
def test_messages(wrong, says):
    with pytest.raises(ValueError, match=says):
        wrong()


def test_many_rows_are_matched_some_at_a_time_with_the_same_pairs(monkeypatch):
    x = torch.randn(301, 16)
    whole = closest_pairs(x, 120)
    monkeypatch.setattr("bvllm.primitives.matching.MOST_SCORES", 7 * 150)
    for one, other in zip(closest_pairs(x, 120), whole, strict=True):
        assert torch.equal(one, other)


class Largest(TorchDispatchMode):
    """The bytes of the largest tensor that is made meanwhile."""

    bytes = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **kwargs or {})
        for part in made if isinstance(made, tuple) else (made,):
            if isinstance(part, torch.Tensor) and part._base is None:
                self.bytes = max(self.bytes, part.untyped_storage().nbytes())
        return made


def test_matching_many_rows_makes_nothing_larger_than_they_are(monkeypatch):
    """Of half-precision rows only the odd half is ever widened at once, and no matrix of all pairs exists."""
    monkeypatch.setattr("bvllm.primitives.matching.MOST_SCORES", 1 << 15)
    x = torch.randn(4000, 64).bfloat16()
    with Largest() as largest:
        closest_pairs(x, 1500)
    assert largest.bytes <= x.untyped_storage().nbytes()
    monkeypatch.setattr("bvllm.primitives.matching.MOST_DISTANCES", 1 << 15)
    with Largest() as largest:
        farthest_first(x, 3)  # all rows are compared with each chosen one, so all are widened
    assert largest.bytes == 2 * x.untyped_storage().nbytes()


def test_rows_that_are_trained_are_matched_as_others():
    x = torch.randn(1200, 4)
    for one, other in zip(closest_pairs(x.clone().requires_grad_(), 500), closest_pairs(x, 500), strict=True):
        assert torch.equal(one, other)


def test_cosine_by_hand():
    got = cosine(torch.tensor([[3.0, 4.0], [0.0, 0.0]]), torch.tensor([[4.0, 3.0], [1.0, 0.0]]))
    torch.testing.assert_close(got, torch.tensor([[0.96, 0.6], [0.0, 0.0]]))


def test_cosine_agrees_with_torch():
    x, y = torch.randn(2, 5, 7), torch.randn(2, 4, 7)
    ours = cosine(x, y)
    torch.testing.assert_close(ours, torch.cosine_similarity(x[:, :, None], y[:, None], dim=-1))
    torch.testing.assert_close(cosine(x), cosine(x, x))


def test_half_precision_is_compared_in_single():
    assert cosine(torch.randn(3, 4).bfloat16()).dtype == torch.float32
    assert cosine(torch.randn(3, 4).double()).dtype == torch.float64


def test_rows_of_zeros_are_chosen_once():
    x = torch.randn(196, 16) + 1
    x[20:40] = 0
    chosen = farthest_first(x, 20).tolist()
    assert sum(20 <= k < 40 for k in chosen) <= 1
    assert len(set(farthest_first(torch.zeros(6, 4), 4).tolist())) == 4
