"""The busy world's questions cannot be guessed by a rule of thumb where it is promised."""

import numpy as np
import pytest

from experiments.controls.promises import MARGIN, PROMISES
from experiments.controls.rules import RULES, ask, wins

# Each could be guessed once: by what options have in common, by times, or by what is there at all.
ONCE_GUESSED = ("relation", "region", "motion", "arrival", "when", "next")
EACH = 250


@pytest.fixture(scope="module")
def asked():
    return ask(EACH, 11, ONCE_GUESSED, (20, 90))


@pytest.mark.parametrize("task", ONCE_GUESSED)
def test_no_rule_of_thumb_gains_where_a_control_must_guess(asked, task):
    assert len(asked[task]) == EACH
    chance = 1.5 * np.sqrt(0.25 * 0.75 / EACH)  # beside the margin
    for rule in RULES:
        if task in PROMISES[rule.control]:
            assert np.mean(wins(rule, asked[task])) < 0.25 + MARGIN + chance, rule.name


def test_wrong_signs_and_times_are_those_of_other_scenes(asked):
    for glimpse in asked["next"]:
        labels = {label for shown in glimpse.timeline.shown for label in shown.scene.labels}
        assert set(glimpse.question.options) <= labels
    others = [
        {f"00:{int(shown.start):02d}" for shown in glimpse.timeline.shown} >= set(glimpse.question.options)
        for glimpse in asked["when"]
        if len(glimpse.timeline.shown) > 5 and glimpse.timeline.seconds < 60
    ]
    assert np.mean(others) > 0.9
