"""What only the resampler has; what it shares with the Q-Former is tested in test_qformer.py."""

import pytest
import torch

from bvllm.stages.resampler import Resampler


def test_every_part_is_trained():
    reader = Resampler(6, 8, 3)
    reader(torch.randn(2, 5, 6)).queries.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in reader.parameters())


def test_queries_see_one_another():
    reader, states = Resampler(6, 8, 3, layers=1).eval(), torch.randn(1, 5, 6)
    before = reader(states).queries[0, 0]
    with torch.no_grad():
        reader.queries.weight[2] += torch.randn(8)
    assert not torch.allclose(reader(states).queries[0, 0], before, atol=1e-5)


def test_it_reads_the_question_where_it_has_words_and_nothing_of_its_padding():
    reader, states = Resampler(6, 8, 3, vocabulary=20, positions=4).eval(), torch.randn(2, 5, 6)
    ids = torch.tensor([[3, 7, 0], [3, 9, 11]])
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]])
    found = reader(states, None, ids, mask, output_attentions=True)
    other = reader(states, None, ids.flip(0), mask.flip(0))
    assert not torch.allclose(found.queries, other.queries, atol=1e-4), "another row's question"
    padded = reader(states, None, ids + torch.tensor([[0, 0, 5], [0, 0, 0]]), mask)
    torch.testing.assert_close(found.queries, padded.queries)
    alone = reader(states[:1], None, ids[:1, :2], mask[:1, :2])
    torch.testing.assert_close(found.queries[:1], alone.queries)
    assert found.attention.shape == (2, 3, 5)
    torch.testing.assert_close(found.attention.sum(-1), torch.ones(2, 3))
    swapped = reader(states, None, ids[:, [1, 0, 2]], mask)
    assert not torch.allclose(found.queries, swapped.queries, atol=1e-5), "order of words"
    found.queries.square().sum().backward()
    assert all(p.grad is not None for p in reader.parameters())
    assert reader(states, None, torch.full((2, 9), 3), None).queries.shape == (2, 3, 8), "words beyond places"


@pytest.mark.parametrize("wrong", [{"heads": 3}, {"heads": 0}, {"layers": 0}])
def test_messages(wrong):
    with pytest.raises(ValueError, match=r"heads that divide its width 8, got layers=\d, heads=\d"):
        Resampler(6, 8, 3, **wrong)
