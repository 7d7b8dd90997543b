"""Random plans for tests, and the needle that a question speaks of."""

import itertools
import re

import numpy as np
from hypothesis import strategies as st

from bvllm.synthetic.needles import Event
from bvllm.synthetic.tasks import TASKS
from bvllm.synthetic.timeline import Timeline, plan_video
from bvllm.synthetic.vocabulary import COLOURS, ITEMS, LANDMARKS, SHAPES, SPLITS, WORDS

seeds = st.integers(0, 2**32 - 1)
lengths = st.one_of(st.integers(8, 24), st.integers(8, 3600))


def plan(seed: int, seconds: float, *first: str, split: str = "train", questions: int = 4) -> Timeline:
    """A plan whose most wanted tasks are `first`, the others in random order."""
    rng = np.random.default_rng(seed)
    order = [*first, *(str(t) for t in rng.permutation([t for t in TASKS if t not in first]))]
    return plan_video(rng, split, float(seconds), order, questions=questions)


def plans(*first: str) -> st.SearchStrategy[Timeline]:
    """Plans of every length and split, with the same most wanted tasks."""
    return st.builds(
        lambda seed, seconds, split, questions: plan(seed, seconds, *first, split=split, questions=questions),
        seeds, lengths, st.sampled_from(SPLITS), st.integers(1, 5),
    )  # fmt: skip


def subject(stem: str) -> str:
    """The name in a question: a sticker's two words, or the one word of anything else; a bare shape, too."""
    words = re.findall(r"[a-z]+", stem)
    for first, second in itertools.pairwise(words):
        if first in COLOURS and second in SHAPES:
            return f"{first} {second}"
    [name] = [word for word in words if word in SHAPES + WORDS + ITEMS + LANDMARKS]
    return name


def by_time(timeline: Timeline) -> list[Event]:
    return sorted(timeline.events, key=lambda event: event.start)
