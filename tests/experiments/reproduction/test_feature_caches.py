"""A bank that is read from disk gives the clips that the one in memory gives."""

from itertools import islice

import numpy as np
import pytest
import torch

from bvllm.model.presets import NANO_MEAN, NANO_STD
from bvllm.nano.busy_pool import draw_busy_pool
from bvllm.nano.examples import examples
from bvllm.nano.feature_cache import FeatureCache
from bvllm.nano.frame_dataset import draw_pool
from bvllm.nano.looks import aims
from bvllm.nano.loop import Control
from bvllm.nano.matching import told_of
from bvllm.nano.steps import clips, hard_selection
from experiments.reproduction import feature_caches
from experiments.reproduction.feature_caches import BankPlan
from tests.model import tiny

SIDE, GRID, SEED = 32, 4, 5
PLAN = BankPlan("train", "train", {"plain": 2, "busy": 10}, SEED)


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """The bank in memory, and the one that was written and read."""
    folder = tmp_path_factory.mktemp("bank")
    config = tiny.vision_config(image_size=SIDE, patch_size=SIDE // GRID)
    model = tiny.model(vision_config=config).eval().model
    drawn = {"seed": SEED, "image_size": SIDE, "workers": 1}
    plain, busy = draw_pool(2, split="train", **drawn), draw_busy_pool(10, **drawn)
    with pytest.MonkeyPatch.context() as patch:  # drawn once: it takes the most time of all
        patch.setattr(feature_caches, "draw_pool", lambda scenes, **asked: plain)
        patch.setattr(feature_caches, "draw_busy_pool", lambda scenes, **asked: busy)
        for world in ("plain", "busy"):
            PLAN.draw(folder, world, model, workers=1, control=Control(print))
    kept = FeatureCache.encode(plain, model, mean=NANO_MEAN, std=NANO_STD, busy=busy)
    assert not list(folder.glob("*.part"))
    return kept, PLAN.read(folder)


def test_features_and_scenes_are_the_same(both):
    kept, read = both
    # Frames are encoded by 128; where the worlds meet, a batch of another size may round otherwise.
    torch.testing.assert_close(read.frames, kept.frames)
    assert torch.equal(read.patches, kept.patches)
    assert (read.pool.needles, read.busy.scenes) == (kept.pool.needles, kept.busy.scenes)
    assert len(read.busy) == len(kept.busy)


def test_busy_clips_are_the_same(both):
    pairs = [islice(clips(bank, "train", (8, 60), 8, SEED, busy=1.0), 15) for bank in both]
    for before, after in zip(*pairs, strict=True):
        one, other = before.example, after.example
        assert (one.prompt, one.reply, one.timeline) == (other.prompt, other.reply, other.timeline)
        assert torch.equal(before.rows, after.rows)
        assert torch.equal(before.target, after.target)
        assert before.oracle == after.oracle
        # Scenes and things are told apart by identity, so a copy of one would be another.
        time = before.oracle[0]
        assert told_of(before, time) == told_of(after, time)
        chosen = hard_selection(before.oracle, len(before.rows))
        wanted = [aims(example, chosen, GRID) for example in (one, other)]
        for aim, again in zip(*wanted, strict=True):
            assert (aim is None) == (again is None)
            assert aim is None or torch.equal(aim, again)


def test_plain_clips_are_the_same(both):
    kept, read = both
    shown = list(islice(filter(kept.can_show, examples("train", (8, 20), SEED)), 4))
    for number, example in enumerate(shown):
        rows = [bank.clip_rows(example, np.random.default_rng(number)) for bank in both]
        assert torch.equal(*rows)
        assert read.can_show(example)
