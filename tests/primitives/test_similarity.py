"""Cosine."""

import torch

from bvllm.primitives.similarity import cosine


def test_by_hand():
    got = cosine(torch.tensor([[3.0, 4.0], [0.0, 0.0]]), torch.tensor([[4.0, 3.0], [1.0, 0.0]]))
    torch.testing.assert_close(got, torch.tensor([[0.96, 0.6], [0.0, 0.0]]))


def test_agrees_with_torch():
    x, y = torch.randn(2, 5, 7), torch.randn(2, 4, 7)
    ours = cosine(x, y)
    torch.testing.assert_close(ours, torch.cosine_similarity(x[:, :, None], y[:, None], dim=-1))
    torch.testing.assert_close(cosine(x), cosine(x, x))


def test_half_precision_is_compared_in_single():
    assert cosine(torch.randn(3, 4).bfloat16()).dtype == torch.float32
    assert cosine(torch.randn(3, 4).double()).dtype == torch.float64
