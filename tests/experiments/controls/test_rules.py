"""Rules of thumb find what a question gives away, and nothing where there is nothing."""

from dataclasses import replace

import numpy as np
import pytest

from bvllm.synthetic.busy.tasks import BUSY_TASKS, Shown
from bvllm.synthetic.busy.things import Scene, Thing
from bvllm.synthetic.busy.timeline import BusyTimeline
from bvllm.synthetic.draft import Question
from experiments.controls.promises import CONTROLS, MARGIN, PROMISES
from experiments.controls.result import Result
from experiments.controls.rules import RULES, Glimpse, best_rules, wins

THINGS = (
    Thing("star", "red", 0.25, 0.25, 0.05),
    Thing("star", "red", 0.75, 0.25, 0.1),
    Thing("moon", "blue", 0.5, 0.5, 0.05, velocity=(0.05, 0.0)),
)
TIMELINE = BusyTimeline(8.0, (Shown(Scene(THINGS, 8), 0.0, 8.0),), ())
NAMES = ("red star", "blue moon", "green ring", "cyan cross")


def glimpse(right, options=NAMES, stem="what is at the top left?", frame=0):
    return Glimpse(Question("region", stem, options, right, "", (0,), about=(THINGS[2],)), TIMELINE, frame)


def rule(name):
    return next(rule for rule in RULES if rule.name == name)


def rate(name, asked):
    return np.mean(wins(rule(name), asked))


def shuffled(rng, right, others):
    """A question whose right option is `right`."""
    options = [right, *others]
    order = rng.permutation(4).tolist()
    return tuple(options[k] for k in order), order.index(0)


def test_no_rule_gains_where_the_right_option_is_any():
    rng = np.random.default_rng(0)
    asked = [glimpse(int(k)) for k in rng.integers(0, 4, 400)]
    for one in RULES:
        assert np.mean(wins(one, asked)) < 0.25 + 3 * np.sqrt(0.19 / 400), one.name


@pytest.mark.parametrize(
    ("name", "right", "others"),
    [
        ("words", "red star", NAMES[1:]),
        ("length", "rather long", ("long", "shor", "tiny")),
        ("mentioned", "top", ("ring", "moon", "star")),
        ("rank", "00:20", ("00:10", "00:30", "00:40")),
        ("worded", "12", ("10", "15", "19")),
        ("kin", "red star", ("red moon", "red ring", "blue star")),
        ("copies", "red star", NAMES[1:]),
        ("size", "red star", NAMES[1:]),
        ("kin in the bag", "red star", NAMES[1:]),
    ],
)
def test_each_rule_finds_the_flaw_that_it_is_for(name, right, others):
    rng = np.random.default_rng(0)
    asked = [glimpse(place, options) for options, place in (shuffled(rng, right, others) for _ in range(40))]
    assert rate(name, asked) == 1.0
    assert rate("place", asked) < 0.6


def test_a_rule_about_one_frame_sees_what_the_frame_shows():
    """The moon moves to the right: in the last frame it is far right, and off the lattice."""
    rng = np.random.default_rng(0)
    ways = ("left", "right", "up", "down")
    late = [k // 2 % 2 for k in range(40)]
    asked = [glimpse(k, ways, "which way?", frame=7 * k) for k in late]
    for name in ("whereabouts", "off the lattice"):
        assert rate(name, asked) == 1.0
    there = [glimpse(*reversed(shuffled(rng, "cyan cross", NAMES[:2] + ("red star",)))) for _ in range(40)]
    assert rate("in the frame", there) == 1.0
    assert rate("moment", there) == 1.0


def test_ties_share_what_they_would_win():
    asked = [glimpse(k % 4) for k in range(8)]
    assert wins(rule("rank"), asked) == [0.25] * 8


def test_the_best_rule_of_each_control_is_told_with_its_promise():
    asked = [glimpse(0) for _ in range(20)]
    found = {result.control: result for result in best_rules(asked)}
    assert set(found) == {"blind", "bag-of-things", "single-frame"}
    assert found["blind"].right.mean == 1.0
    assert found["blind"].shortcut
    assert found["blind"].line().startswith("| blind | region | place | 100 (84-100) | 20 | 25 | SHORTCUT |")
    assert not found["single-frame"].promised


def test_promises_name_tasks_and_the_margin_decides():
    assert set(PROMISES) == set(CONTROLS)
    assert all(set(tasks) <= set(BUSY_TASKS) for tasks in PROMISES.values())
    assert set(PROMISES["blind"]) == set(BUSY_TASKS)
    kept = Result.of("blind", "when", "model", [4] * 100, [1.0] * 29 + [0.0] * 71)
    assert not kept.shortcut
    assert kept.line().endswith("| kept |")
    broken = Result.of("blind", "when", "model", [4] * 100, [1.0] * 31 + [0.0] * 69)
    assert broken.shortcut
    assert MARGIN == 0.05
    assert replace(broken, promised=False).line().endswith("|  |")
