"""What the exam asks of the busy world: every task counts for a family, and a frame answers its question."""

from collections import Counter
from itertools import islice

import numpy as np
import pytest
import torch

from bvllm.nano.busy_pool import BusyPool
from bvllm.synthetic.busy.compose import compose
from bvllm.synthetic.busy.spatial import SPATIAL
from bvllm.synthetic.busy.tasks import BUSY_TASKS
from bvllm.synthetic.tasks import TASKS
from experiments.reproduction.questions import FAMILIES, busy_images


def pool_of(kinds):
    """Scenes without pixels."""
    rng = np.random.default_rng(3)
    scenes = tuple(compose(rng, kind, "river", ["beach", "tiger"]) for kind in kinds)
    lengths = np.array([scene.seconds for scene in scenes])
    return BusyPool(torch.empty(int(lengths.sum()), 0), scenes, lengths.cumsum() - lengths)


@pytest.mark.parametrize("world, tasks", [("busy", BUSY_TASKS), ("plain", TASKS)])
def test_every_task_is_in_one_family(world, tasks):
    counted = Counter(task for family in FAMILIES[world].values() for task in family)
    assert counted == Counter(list(tasks))


def test_images_of_the_busy_world_ask_what_their_frame_shows():
    pool = pool_of(["mixed", "signs", "odd", "mover", "arrival"] * 8)
    found = list(islice(busy_images(pool, 1), 10 * len(SPATIAL)))
    assert set(Counter(one.question.task for one in found).values()) == {10}
    for one in found:
        [shown] = one.timeline.shown
        assert one.frames == 1
        assert one.asked_frames() == [0]
        assert shown.scene in pool.scenes
        assert all(any(thing is other for other in shown.scene.seen(0)) for thing in one.question.about)
        assert f"{one.question.options[one.question.right]} (" in one.reply
        assert str(shown.scene.anchor) in one.prompt
        assert one.question.options[0] in one.prompt


def test_scenes_about_which_nothing_can_be_asked_are_refused():
    with pytest.raises(ValueError, match="busy scenes must allow a spatial question, got 3"):
        next(busy_images(pool_of(["mover"] * 3), 1))
