"""What the selector should choose, and what is made of what it chose."""

import numpy as np
import pytest
import torch

from bvllm.nano.feature_cache import FeatureCache, needle_key
from bvllm.nano.frame_dataset import FrameDataset
from bvllm.nano.steps import TrainingClip, hard_selection, mix_patches, shared_frames_loss, wanted_frames
from bvllm.synthetic.needles import Caption, Picture, Sticker
from bvllm.types import FrameSelection
from tests.nano.handmade import ABSENT, BOTH, STAR, WORD, example


def test_with_one_needle_all_queries_meet_at_it():
    assert wanted_frames(example(), 4).tolist() == [2, 2, 2, 2]


def test_with_several_needles_each_query_goes_to_its_nearest():
    # Zones of four queries over frames 0..9 have their centres at 1.125, 3.375, 5.625 and 7.875.
    assert wanted_frames(example(BOTH), 4).tolist() == [2, 2, 7, 8]


def test_where_nothing_is_asked_for_queries_spread():
    assert wanted_frames(example(ABSENT), 4).tolist() == [1, 3, 6, 8]
    assert wanted_frames(example(ABSENT), 10).tolist() == list(range(10))


def asked_of(needles, queries=4):
    one = example(needles)
    return TrainingClip(one, torch.arange(10), wanted_frames(one, queries), [])


def peaks(*frames, height=20.0):
    """Queries that each like one of ten frames alone."""
    return height * torch.nn.functional.one_hot(torch.tensor(frames), 10).float()


def test_queries_may_share_the_asked_frames_in_any_order():
    # The frames asked for are 2, 7 and 8; four queries, so at most two may choose the same.
    for frames in ((2, 7, 8, 2), (8, 2, 7, 7), (7, 8, 8, 2)):
        assert shared_frames_loss(peaks(*frames), asked_of(BOTH)).item() < 1e-3


@pytest.mark.parametrize("frames", [(2, 2, 2, 2), (2, 2, 7, 7), (7, 7, 8, 8), (7, 7, 7, 8), (2, 7, 8, 4)])
def test_queries_that_leave_an_asked_frame_out_pay(frames):
    assert shared_frames_loss(peaks(*frames), asked_of(BOTH)).item() > 4


def test_with_more_asked_frames_than_queries_each_query_has_one_of_its_own():
    few = asked_of(BOTH, 2)
    assert shared_frames_loss(peaks(8, 2), few).item() < 1e-3
    assert shared_frames_loss(peaks(8, 8), few).item() > 4


def test_of_one_frame_of_a_video_the_target_alone_is_known():
    still = TrainingClip(example(BOTH), torch.arange(1), torch.zeros(4, dtype=torch.long), [0])
    assert shared_frames_loss(torch.zeros(4, 1), still).item() == 0


def test_where_nothing_is_asked_for_each_query_has_a_frame_of_its_own():
    clip = asked_of(ABSENT)
    assert shared_frames_loss(peaks(*clip.target.tolist()), clip).item() < 1e-3
    assert shared_frames_loss(peaks(*clip.target.flip(0).tolist()), clip).item() > 4


@pytest.mark.parametrize(
    "one, other, same",
    [
        (Sticker("star", "red", ("top left",)), Sticker("star", "red", ("top left",), scale=0.35), True),
        (Sticker("star", "red", ("top left",)), Sticker("star", "red", ("middle",)), False),
        (Sticker("star", "red", ("top left",)), Sticker("star", "blue", ("top left",)), False),
        (Sticker("star", "red", ("middle",), "up"), Sticker("star", "red", ("middle",), "down"), False),
        (Sticker("star", "red", ("middle",), "up"), Sticker("star", "red", ("middle",)), False),
        (Sticker("moon", "red", ("middle", "top left")), Sticker("moon", "red", ("top right",) * 2), True),
        (Caption("river", "red"), Caption("river", "blue"), True),
        (Picture("boat", "red"), Picture("bird", "red"), False),
    ],
)  # fmt: skip
def test_which_frame_may_stand_for_which_needle(one, other, same):
    assert (needle_key(one) == needle_key(other)) is same


def bank():
    """Two scenes of three bare frames each, and one frame of each needle."""
    needles = (None,) * 6 + (STAR.needle, WORD.needle)
    scene = torch.tensor([0, 0, 0, 1, 1, 1, 0, 1])
    pool = FrameDataset(torch.zeros(8, 3, 4, 4, dtype=torch.uint8), needles, torch.zeros(8), scene)
    return FeatureCache.index(pool, torch.randn(8, 5), torch.randn(8, 4, 5))


def test_the_rows_of_a_clip_show_each_needle_in_its_frames_and_bare_frames_elsewhere():
    rows = bank().clip_rows(example(), np.random.default_rng(0))
    assert rows.shape == (10,)
    assert [t for t in range(10) if rows[t] == 6] == [2]
    assert [t for t in range(10) if rows[t] == 7] == [7, 8]
    assert all(rows[t] < 6 for t in (0, 1, 3, 4, 5, 6, 9))


def test_what_the_pool_lacks_cannot_be_shown():
    assert bank().can_show(example())
    lacking = bank()
    lacking.rows.pop(needle_key(WORD.needle))
    assert not lacking.can_show(example())


def clip():
    return TrainingClip(example(), torch.tensor([0, 3, 6, 1]), torch.zeros(2, dtype=torch.long), [1, 2])


def test_a_hard_choice_takes_the_frames_patches_as_they_are():
    store = bank()
    selection = hard_selection([1, 2], 4)
    assert (selection.frames.tolist(), selection.seconds.tolist()) == ([1, 2], [1.0, 2.0])
    assert torch.equal(mix_patches(store, clip(), selection), store.patches[[3, 6]].float())


def test_a_soft_choice_mixes_patches_by_weight():
    store = bank()
    weights = torch.tensor([[0.75, 0.24, 0.01, 0.0], [0.0, 0.5, 0.0, 0.5]])
    ones = torch.ones(2)
    soft = FrameSelection(weights, torch.tensor([0, 1]), torch.tensor([0.0, 1.0]), ones, ones, weights)
    mixed = mix_patches(store, clip(), soft)
    first = (
        0.75 * store.patches[0] + 0.24 * store.patches[3]
    ) / 0.99  # what weighs nearly nothing is left out
    second = 0.5 * store.patches[3] + 0.5 * store.patches[1]
    assert torch.allclose(mixed, torch.stack([first, second]), atol=1e-5)
