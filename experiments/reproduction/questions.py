"""Ask the same questions of both worlds, at every length, for all variants."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch

from bvllm.nano.busy_examples import BusyExample, busy_examples
from bvllm.nano.busy_pool import BusyPool
from bvllm.nano.examples import Example, examples, put_words
from bvllm.nano.feature_cache import AnyExample, FeatureCache
from bvllm.nano.steps import TrainingClip, wanted_frames
from bvllm.synthetic.busy.phrases import SAYS
from bvllm.synthetic.busy.spatial import SPATIAL, ask_scene
from bvllm.synthetic.busy.tasks import Shown
from bvllm.synthetic.busy.timeline import BusyTimeline
from bvllm.synthetic.sampling import pick
from experiments.reproduction.scale import DURATIONS, WORLDS, World

FAMILIES: dict[World, dict[str, tuple[str, ...]]] = {
    "busy": {
        "space": tuple(SPATIAL),
        "time": ("arrival", "motion", "order", "when", "next", "repetition"),
    },
    "plain": {
        "retrieval": ("retrieval_edit", "retrieval_insert1", "retrieval_insert2"),
        "ordering": ("ordering_edit", "ordering_insert1", "ordering_insert2"),
        "counting": ("counting_edit1", "counting_edit2", "counting_insert"),
        "attributes": ("existence", "colour", "position"),
        "time": ("direction", "when"),
    },
}
OF_AN_IMAGE = ("retrieval_edit", "retrieval_insert1", "retrieval_insert2", "colour", "position", "existence")
SCENES_TRIED = 200  # for a spatial question about a single frame


class Column(NamedTuple):
    """Which questions: of which world, about videos of which length."""

    world: World
    duration: str


Exam = dict[Column, list[TrainingClip]]


def questions(bank: FeatureCache, queries: int, count: int, seed: int) -> Exam:
    """`count` questions with options of each world and duration; the same for every variant.

    Args:
        queries: L*, for which a clip says what frames it would want; what is asked does not depend on it.
    """
    columns = [Column(world, duration) for world in WORLDS for duration in DURATIONS]
    return {
        column: list(islice(_clips(bank, column, queries, seed + place), count))
        for place, column in enumerate(columns)
    }


def _clips(bank: FeatureCache, column: Column, queries: int, seed: int) -> Iterator[TrainingClip]:
    rng = np.random.default_rng((seed, 53))
    image = column.duration == "image"
    for drawn in _drawn(bank, column, seed):
        task = drawn.question.task
        if task == "listing" or not bank.can_show(drawn):
            continue
        if image and isinstance(drawn, Example) and task not in OF_AN_IMAGE:
            continue
        example = drawn.with_options()
        rows, target = bank.clip_rows(example, rng), wanted_frames(example, queries)
        if image:
            rows, target = rows[[_telling_frame(example, rng)]], torch.zeros(queries, dtype=torch.long)
        yield TrainingClip(example, rows, target, [])


def _drawn(bank: FeatureCache, column: Column, seed: int) -> Iterator[AnyExample]:
    seconds = DURATIONS[column.duration]
    if column.world == "plain":
        return examples("test", seconds, seed, weights={})
    assert bank.busy is not None  # every bank here has both worlds
    return (
        busy_images(bank.busy, seed)
        if column.duration == "image"
        else busy_examples(bank.busy, seconds, seed, weights={})
    )


def busy_images(pool: BusyPool, seed: int) -> Iterator[BusyExample]:
    """Endless spatial questions about the first frame of a scene, as often of each task.

    The first, since answers are worked out from where things stand when the scene begins. The scene is named
    by its sign, as in questions about videos, which are all that was trained.

    Raises:
        ValueError: no question fits any scene.
    """
    rng = np.random.default_rng((seed, 61))
    while True:
        asked = 0
        for task in rng.permutation(list(SPATIAL)).tolist():
            found = _about_a_frame(pool, task, rng)
            if found is not None:
                asked += 1
                yield found
        if not asked:
            raise ValueError(
                f"busy scenes must allow a spatial question, got {len(pool.scenes)} that do not: draw more"
            )


def _about_a_frame(pool: BusyPool, task: str, rng: np.random.Generator) -> BusyExample | None:
    kind = SPATIAL[task][0]
    fit = [scene for scene in pool.scenes if scene.kind == kind and scene.anchor is not None]
    for _ in range(SCENES_TRIED if fit else 0):
        scene = fit[int(rng.integers(len(fit)))]
        asked = ask_scene(rng, scene, task)
        if asked is not None:
            question = replace(asked, stem=pick(rng, SAYS).format(scene.anchor) + asked.stem)
            timeline = BusyTimeline(1.0, (Shown(scene, 0.0, 1.0),), (question,))
            return BusyExample(timeline, question, *put_words(question, with_options=True))
    return None


def _telling_frame(example: AnyExample, rng: np.random.Generator) -> int:
    """A frame that shows what is asked; any, where the right answer is that nothing does."""
    shown = example.asked_frames() or range(example.frames)
    return int(rng.choice(shown))
