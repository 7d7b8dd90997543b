"""Where in its clip a frame stands."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bvllm.primitives.positions import (
    grid_position_features,
    relative_position,
    relative_position_features,
)


def test_by_hand():
    got = relative_position_features(torch.tensor([[10.0, 15.0, 20.0]]), None, channels=4)[0]
    # t = 0, 1/2, 1; half a cycle over the clip: sin, cos of 0, pi / 2, pi
    expected = [[-1.0, -1.0, 0.0, 1.0], [0.0, -0.5, 1.0, 0.0], [1.0, 1.0, 0.0, -1.0]]
    torch.testing.assert_close(got, torch.tensor(expected), atol=1e-6, rtol=0)


def test_the_last_pair_turns_64_times():
    t = torch.tensor([[0.0, 1 / 256, 1.0]])  # a quarter of the fastest cycle
    got = relative_position_features(t, None, channels=10)[0, 1, -2:]
    torch.testing.assert_close(got, torch.tensor([1.0, 0.0]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("channels", [0, 1, 2, 3, 8, 9])
def test_any_number_of_channels(channels):
    features = relative_position_features(torch.rand(2, 5).sort(-1).values, None, channels)
    assert features.shape == (2, 5, channels)
    assert features.dtype == torch.float32
    assert features.abs().le(1).all()


def test_a_clip_of_one_frame_stands_at_zero():
    seconds = torch.tensor([[7.0]])
    assert relative_position(seconds).item() == 0.0
    assert relative_position_features(seconds, None, 4).flatten().tolist() == [-1.0, -1.0, 0.0, 1.0]


@given(st.lists(st.floats(0, 1e5), min_size=1, max_size=6), st.integers(0, 4))
def test_padding_changes_nothing(times, padding):
    seconds = torch.tensor([sorted(times)], dtype=torch.float64)
    padded = torch.cat([seconds, torch.full((1, padding), 1e9, dtype=torch.float64)], dim=1)
    mask = torch.arange(padded.shape[1])[None] < len(times)
    got = relative_position_features(padded, mask, 8)
    assert torch.equal(got[:, : len(times)], relative_position_features(seconds, None, 8))
    assert not got[:, len(times) :].any()


def test_only_the_place_within_the_clip_counts():
    seconds = torch.tensor([[0.0, 1.0, 4.0]])
    later_and_slower = relative_position_features(100 + 60 * seconds, None, 8)
    torch.testing.assert_close(later_and_slower, relative_position_features(seconds, None, 8))


@pytest.mark.parametrize("channels", [0, 1, 3, 4, 9, 16])
def test_a_grid_of_any_shape_and_any_number_of_channels(channels):
    found = grid_position_features(3, 5, channels)
    assert found.shape == (15, channels)
    assert found.abs().le(1).all()


def test_places_of_a_grid_are_all_different_and_depend_on_the_place_alone():
    fine = grid_position_features(6, 9, 8)
    assert len(fine.round(decimals=4).unique(dim=0)) == 54
    # The middle of a patch of the coarse grid is the middle of the middle one of three.
    torch.testing.assert_close(grid_position_features(2, 3, 8), fine.view(6, 9, 8)[1::3, 1::3].flatten(0, 1))


@pytest.mark.parametrize(
    "wrong, says",
    [
        (lambda: grid_position_features(2, 2, -1), "channels must be 0 or more, got -1"),
        (lambda: grid_position_features(0, 2, 4), "rows and columns must be at least 1, got 0 x 2"),
        (
            lambda: relative_position_features(torch.zeros(1, 2), None, -1),
            "channels must be 0 or more, got -1",
        ),
        (lambda: relative_position_features(torch.zeros(2), None, 2), r"\(clips, frames\), got shape \(2,\)"),
    ],
)
def test_messages(wrong, says):
    with pytest.raises(ValueError, match=says):
        wrong()
