"""How many tokens each frame may keep."""

from dataclasses import replace

import pytest
import torch

from bvllm.methods import METHODS
from bvllm.stages.allocate import POLICIES, BalancedShare, ContentShare, EvenShare, QuoTAShare, variety
from bvllm.stages.pipeline import Pipeline
from bvllm.stages.sample_tokens import PerClip
from bvllm.types import Budget, FrameSelection


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


@pytest.mark.parametrize(
    "frames, tokens", [(16, 32), (16, 63), (32, 64), (32, 63), (3, 10), (5, 255), (1, 7)]
)
def test_even_shares_leave_nothing_over(frames, tokens):
    """What does not divide was lost once: 32 of 63 tokens were spent on 32 frames."""
    counts = EvenShare().allocate(chosen(*[0.5] * frames), tokens, 60)
    assert int(counts.sum()) == min(tokens, 60 * frames)
    assert int(counts.max() - counts.min()) <= 1
    assert EvenShare().allocate(chosen(*[0.5] * 5), 3, 60).tolist() == [1] * 5, (
        "one each, where frames are more"
    )


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
    assert QuoTAShare(released=True).allocate(chosen(0.5, 0.5, 0.5), 10, 100).tolist() == [2, 2, 2]
    assert QuoTAShare(released=True).allocate(chosen(0.9, 0.3, 0.3), 110, 50).tolist() == [49, 9, 9]
    assert QuoTAShare().allocate(chosen(0.5, 0.5, 0.5), 10, 100).tolist() == [4, 3, 3]


RICH = torch.randn(16, 8, generator=torch.Generator().manual_seed(0))
BLANK = RICH[:1].repeat(16, 1) + 0.01 * RICH


def spent(selection, *frames):
    """Tokens of each frame in the end, where a method drops patches down to what the policy gave."""
    pipeline = Pipeline(sample_tokens=PerClip(METHODS["sample_tokens"]["divprune"]()), policy=ContentShare())
    sampled = pipeline.reduce_to_budget(torch.stack(frames), [selection], budget=Budget(tokens=16))
    return torch.bincount(sampled.tokens[0].frame, minlength=len(selection)).tolist()


def test_content_gives_a_rich_frame_more_and_follows_it_to_another_place():
    first, last = spent(chosen(0.5, 0.5), RICH, BLANK), spent(chosen(0.5, 0.5), BLANK, RICH)
    assert first == last[::-1] == [15, 1]
    assert spent(chosen(0.5, 0.5), RICH, RICH) == [8, 8]
    assert spent(chosen(0.5, 0.5), BLANK, BLANK) == [8, 8]


def test_content_follows_the_question_where_frames_show_as_much():
    assert spent(chosen(0.9, 0.3), RICH, RICH) == [12, 4]
    assert spent(chosen(0.3, 0.9), RICH, RICH) == [4, 12]


def test_variety_knows_no_scale_and_no_order():
    same = [variety(x[None]).item() for x in (RICH, 7 * RICH, RICH.flip(0))]
    assert same == pytest.approx([same[0]] * 3)
    assert variety(BLANK[None]).item() < 0.01 < 0.5 < same[0] <= 1
