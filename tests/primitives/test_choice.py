"""Hard, soft and noisy choices (eq. 1)."""

import math

import pytest
import torch

from bvllm.primitives.choice import choose

LOGITS = torch.tensor([[0.0, 1.0, 3.0], [2.0, 2.0, -torch.inf]])


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_hard_is_one_hot_and_the_first_wins_a_tie():
    assert choose(LOGITS).tolist() == [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]


def test_equal_frames_are_chosen_as_one_though_their_scores_differ_in_the_last_bits():
    key = torch.randn(1, 1408, generator=generator())
    logits = torch.randn(32, 1408, generator=generator(1)) @ key.expand(7, -1).contiguous().T
    logits = logits * (1 + 2 * torch.finfo(torch.float32).eps * torch.arange(7))  # whatever this machine does
    assert logits.argmax(-1).unique().numel() > 1
    assert choose(logits).argmax(-1).tolist() == [0] * 32
    apart = torch.tensor([[1.0, 1.0 + 1e-4], [1.0 - 1e-4, 1.0]])
    assert choose(apart).argmax(-1).tolist() == [1, 1]
    assert choose(torch.tensor([[-torch.inf, 3.0, torch.inf]])).argmax(-1).tolist() == [2]


def test_hard_repeats_itself_whatever_the_noise():
    logits = torch.randn(8, 20)
    torch.manual_seed(1)
    once = choose(logits)
    torch.manual_seed(2)
    assert torch.equal(once, choose(logits, generator=generator(3)))


def test_softmax_by_hand_tau_divides_the_logits():
    got = choose(torch.tensor([[0.0, math.log(2.0) / 2]]), tau=0.5, mode="softmax")
    torch.testing.assert_close(got, torch.tensor([[1 / 3, 2 / 3]]))


def test_gumbel_by_hand():
    noise = -torch.empty(2, 3).exponential_(generator=generator()).log()
    expected = ((LOGITS + noise) / 0.1).softmax(-1)
    torch.testing.assert_close(choose(LOGITS, tau=0.1, mode="gumbel", generator=generator()), expected)


def test_gumbel_repeats_with_a_generator_and_differs_without():
    logits = torch.randn(4, 9)
    draws = [choose(logits, mode="gumbel", generator=generator(seed)) for seed in (7, 7, 8)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    assert not torch.equal(choose(logits, mode="gumbel"), choose(logits, mode="gumbel"))


def test_gumbel_picks_as_often_as_the_softmax_says():
    logits = torch.tensor([0.0, 1.0, 2.0])
    picks = choose(logits.expand(20000, 3), tau=0.1, mode="gumbel", generator=generator()).argmax(-1)
    share = picks.bincount(minlength=3) / 20000
    torch.testing.assert_close(share, logits.softmax(-1), atol=0.015, rtol=0)


@pytest.mark.parametrize("mode", ["hard", "gumbel", "softmax"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rows_sum_to_one_and_masked_columns_get_nothing(mode, dtype):
    logits = torch.randn(3, 5, 11).to(dtype).index_fill(-1, torch.tensor([8, 9, 10]), -torch.inf)
    S = choose(logits, mode=mode)
    assert S.dtype == dtype
    torch.testing.assert_close(S.float().sum(-1), torch.ones(3, 5), atol=0.02, rtol=0)
    assert not S[..., 8:].any()


@pytest.mark.parametrize("mode", ["gumbel", "softmax"])
def test_soft_choices_have_gradients_even_beside_masked_columns(mode):
    logits = torch.randn(2, 4, requires_grad=True)
    masked = logits.masked_fill(torch.tensor([False, False, False, True]), -torch.inf)
    (choose(masked, tau=1.0, mode=mode) * torch.arange(4.0)).sum().backward()
    assert logits.grad.isfinite().all()
    assert logits.grad[:, :3].any()
    assert not logits.grad[:, 3].any()


@pytest.mark.parametrize(
    "wrong, says",
    [
        (lambda: choose(LOGITS, tau=0.0), "tau must be above 0, got 0.0"),
        (lambda: choose(LOGITS, tau=math.nan), "tau must be above 0, got nan"),
        (lambda: choose(LOGITS, mode="soft"), "mode must be 'hard', 'gumbel' or 'softmax', got 'soft'"),
        (lambda: choose(torch.full((1, 2), -torch.inf)), "unmask at least one column"),
        (lambda: choose(torch.tensor([[0.0, torch.nan]])), "check the frame features for NaN"),
    ],
)
def test_messages(wrong, says):
    with pytest.raises(ValueError, match=says):
        wrong()
