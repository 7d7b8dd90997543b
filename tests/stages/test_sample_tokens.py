"""Sec. 3.4, first half: R tokens of every frame."""

import pytest
import torch
from torch.nn import functional

from bvllm.stages.qformer import QFormerOutput
from bvllm.stages.sample_tokens import PooledTokens, TokenSampler, most_attended

from .parts import QUERIES, READERS, STATES, WIDTH, a_question


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
def test_every_frame_gives_as_many_tokens_and_says_where_from(reader):
    sampler = TokenSampler(reader()).eval()
    patches, (ids, mask) = torch.randn(3, 16, STATES), a_question(3)
    tokens, attention = sampler(patches, ids, mask)
    assert tokens.shape == (3, QUERIES, WIDTH)
    assert sampler.width == WIDTH
    torch.testing.assert_close(attention.sum(-1), torch.ones(3, QUERIES))
    for i in range(3):
        one = slice(i, i + 1)
        alone, where = sampler(patches[one], ids[one], mask[one])
        torch.testing.assert_close(tokens[one], alone, atol=1e-5, rtol=0)
        torch.testing.assert_close(attention[one], where, atol=1e-5, rtol=0)


def test_a_reader_without_maps_is_refused():
    class Blind(torch.nn.Module):
        width = WIDTH

        def forward(self, states, mask, ids, question_mask, *, output_attentions):
            return QFormerOutput(states, None)

    with pytest.raises(RuntimeError, match="reader must return its attention maps, got None"):
        TokenSampler(Blind())(torch.zeros(1, 4, WIDTH))


def test_pooling_is_that_of_torch():
    patches = torch.randn(2, 64, STATES)
    tokens, attention = PooledTokens(32)(patches)
    grid = patches.mT.unflatten(-1, (8, 8))
    expected = functional.adaptive_avg_pool2d(grid, (4, 8)).flatten(2).mT
    torch.testing.assert_close(tokens, expected)
    torch.testing.assert_close(attention @ patches, tokens)


def test_the_patch_looked_at_most():
    attention = functional.one_hot(torch.tensor([[0, 5, 11]]), 12).float()
    row, column = most_attended(attention, columns=4)
    assert row.tolist() == [[0, 1, 2]]
    assert column.tolist() == [[0, 1, 3]]


@pytest.mark.parametrize(
    "wrong, says",
    [
        (lambda: PooledTokens(0), "tokens must be at least 1, got 0"),
        (lambda: PooledTokens(2)(torch.zeros(4, 3)), r"patches must be .* got shape \(4, 3\)"),
        (
            lambda: most_attended(torch.zeros(1, 1, 12), columns=5),
            "columns must divide the 12 patches .* got 5",
        ),
    ],
)
def test_messages(wrong, says):
    with pytest.raises(ValueError, match=says):
        wrong()
