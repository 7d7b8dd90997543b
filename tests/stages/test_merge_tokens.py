"""Sec. 3.4, second half: tokens are folded together until they fit."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bvllm.model.clock import ClockEmbedding, clock_of
from bvllm.stages.merge_tokens import BipartiteMerging, equal_shares, merge_in_rounds
from bvllm.types import FrameSelection, Tokens


def tokens(features, size=None, frames=1):
    """Tokens of one frame, or of some with as many each."""
    n = len(features)
    frame = torch.arange(n) * frames // n
    return Tokens(
        features,
        frame * 1.0,
        torch.ones(n) if size is None else size,
        frame,
        torch.arange(n) % 3,
        torch.arange(n) % 5,
        frame,
    )


def random_tokens(n, seed=0, frames=1):
    generator = torch.Generator().manual_seed(seed)
    size = torch.randint(1, 5, (n,), generator=generator).float()
    return tokens(torch.randn(n, 6, generator=generator), size, frames)


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


@given(st.integers(1, 9), st.integers(1, 12), st.integers(1, 90), st.integers(0, 999))
def test_no_join_crosses_frames_and_the_budget_is_kept(frames, each, keep, seed):
    x = random_tokens(frames * each, seed, frames)
    plan = BipartiteMerging().assign(x, keep)
    y = x.reduce(plan)
    assert len(y) == min(frames * each, keep)
    joined = plan.target >= 0
    assert torch.equal(y.frame[plan.target[joined]], x.frame[joined])
    counts = torch.bincount(y.frame, minlength=frames)
    assert int(counts.max() - counts.min()) <= 1, "equal shares"
    assert (y.frame.diff() >= 0).all()
    assert torch.equal(y.seconds, y.frame * 1.0)
    if keep >= frames:
        assert joined.all(), "merging loses no token"
        torch.testing.assert_close(y.size.sum(), x.size.sum())


def test_a_frame_ends_where_halving_alone_would_end_and_on_its_share_by_one_partial_merge():
    """16 tokens to 4: two halvings; the couples are those of the frame alone, whatever stands beside it."""
    x = random_tokens(48, 3, frames=3)
    y = fold(x, 12)
    for frame in range(3):
        alone = fold(x.at((x.frame == frame).nonzero()[:, 0]), 4)
        torch.testing.assert_close(y.features[y.frame == frame], alone.features)


def test_rows_of_S_on_one_frame_are_halved_each_by_itself():
    """Sec. 3.4 halves V**_i, one for each row of S: a copy of a frame is no more of that frame."""
    patches = torch.randn(3, 8, 6, generator=torch.Generator().manual_seed(5))
    copies = Tokens.of(patches, torch.tensor([4.0, 4.0, 9.0]), torch.tensor([4, 4, 9]))
    apart = Tokens.of(patches, torch.arange(3.0))
    for keep in (3, 6, 10, 12):
        y, wanted = fold(copies, keep), fold(apart, keep)
        assert torch.equal(y.features, wanted.features), "equal shares of each row, none across two"
        assert torch.equal(y.chosen, wanted.frame)
        assert y.frame.tolist() == [[4, 4, 9][k] for k in wanted.frame]


def test_shares_are_equal_and_what_a_frame_cannot_use_goes_to_the_others():
    assert equal_shares([8] * 4, 32) == [8] * 4
    assert equal_shares([8] * 4, 9) == [2, 2, 3, 2]
    assert equal_shares([1, 8, 8, 1], 10) == [1, 4, 4, 1]
    assert equal_shares([8] * 6, 3) == [0, 1, 0, 1, 0, 1]
    assert equal_shares([3], 9) == [3]


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


def test_a_token_of_several_frames_has_the_time_of_all_of_them():
    """Merged over the clip, the anchor's time alone would be false; within frames it is the frame's own."""
    clock = ClockEmbedding(8)
    torch.nn.init.normal_(clock.minutes.weight)
    torch.nn.init.normal_(clock.seconds.weight)
    bag = Tokens.of(torch.ones(3, 1, 4), torch.tensor([1.0, 61.0, 130.0]))
    chosen = FrameSelection.of(torch.arange(3), bag.seconds)
    one = bag.reduce(merge_in_rounds(bag, 1))
    torch.testing.assert_close(clock_of(clock, one, chosen, 1), clock(bag.seconds).mean(0, keepdim=True))
    apart = bag.reduce(BipartiteMerging().assign(bag, 2))
    assert torch.equal(clock_of(clock, apart, chosen, 1), clock(apart.seconds))
    assert torch.equal(clock_of(clock, bag, chosen, 1), clock(bag.seconds))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("by_keys", [False, True])
def test_rounds_of_half_precision_are_matched_in_float32(seed, by_keys):
    """Means that are rounded between rounds are matched by their rounding."""
    drawn = torch.Generator().manual_seed(seed)
    half = torch.randn(96, 24, generator=drawn).bfloat16()
    keys = torch.randn(96, 24, generator=drawn).bfloat16() if by_keys else None
    wide = None if keys is None else keys.float()
    for keep in (5, 13):
        found = merge_in_rounds(tokens(half), keep, keys)
        wanted = merge_in_rounds(tokens(half.float()), keep, wide)
        assert torch.equal(found.target, wanted.target)
