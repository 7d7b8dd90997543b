"""How many tokens each frame may keep."""

from dataclasses import replace

import pytest
import torch

from bvllm.stages.allocate import POLICIES, BalancedShare, QuoTAShare
from bvllm.types import FrameSelection


def chosen(*scores):
    frames = FrameSelection.of(torch.arange(len(scores)), torch.arange(float(len(scores))))
    return replace(frames, scores=torch.tensor(scores))


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize("tokens, patches", [(1, 4), (7, 4), (9, 100), (1000, 4)])
def test_no_policy_gives_more_than_there_is(name, tokens, patches):
    for scores in ((0.5,), (0.2, 0.9, 0.0), (0.0, 0.0), (1.0,) * 5):
        counts = POLICIES[name]().allocate(chosen(*scores), tokens, patches)
        assert counts.sum() <= max(tokens, len(scores) * (name != "quota"))
        assert counts.max() <= patches
        assert counts.sum() >= 1


def test_quota_squares_what_balance_takes_as_it_is():
    surer = chosen(0.9, 0.3, 0.3)
    balanced, quota = (
        policy.allocate(surer, 110, 200).tolist() for policy in (BalancedShare(), QuoTAShare())
    )
    assert quota == [90, 10, 10]
    assert balanced == [66, 22, 22]
    assert QuoTAShare().allocate(chosen(0.3, 0.9, 0.3), 110, 200).tolist() == [10, 90, 10]


def test_quota_leaves_doubtful_frames_out_and_gives_what_one_cannot_hold_to_the_others():
    assert QuoTAShare().allocate(chosen(0.9, 0.01, 0.3), 10, 100).tolist() == [9, 0, 1]
    assert QuoTAShare().allocate(chosen(0.9, 0.3, 0.3), 110, 50).tolist() == [50, 30, 30]


def test_quota_as_released_loses_fractions_and_what_a_frame_cannot_hold():
    assert QuoTAShare(released=True).allocate(chosen(0.5, 0.5, 0.5), 10, 100).tolist() == [3, 3, 3]
    assert QuoTAShare(released=True).allocate(chosen(0.9, 0.3, 0.3), 110, 50).tolist() == [50, 10, 10]
    assert QuoTAShare().allocate(chosen(0.5, 0.5, 0.5), 10, 100).tolist() == [4, 3, 3]
