"""Questions that are asked where they are named alone, worked out a second time from what is drawn."""

import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from bvllm.synthetic.busy.further import EVERY_TASK, FURTHER_TASKS
from bvllm.synthetic.busy.phrases import SAYS, busy_words
from bvllm.synthetic.busy.tasks import BUSY_TASKS
from bvllm.synthetic.busy.things import cell_of
from bvllm.synthetic.busy.timeline import fresh_scenes, plan_busy
from bvllm.synthetic.make import make_world

from .test_busy import SIZE, at_rest, beside, clocked, measure, placed, side


def planned(task, rng, seconds=12):
    timeline = plan_busy(rng, seconds, [task], fresh_scenes(rng), questions=1)
    [question] = timeline.questions
    return timeline, question


def test_a_sign_is_shown_for_as_many_seconds_as_the_answer_says():
    rng, seen = np.random.default_rng(1), Counter()
    for _ in range(30):
        timeline, question = planned("duration", rng, 40)
        [label] = re.fullmatch(r"for how many seconds is the sign (\w+) shown\?", question.stem).groups()
        shows = [t for t in range(40) if label in timeline.at(t).scene.labels]
        right = question.options[question.right]
        assert right == str(len(shows))
        assert question.evidence == f"{clocked(shows[0])}, {clocked(shows[-1])}"
        assert question.answer == f"{question.evidence} = {right}"
        seen[right] += 1
    assert len(seen) >= 5


def test_what_stands_beside_the_thing_that_comes_later():
    rng = np.random.default_rng(2)
    for _ in range(7):
        timeline, question = planned("beside", rng)
        shown = timeline.shown[question.needles[0]]
        scene = replace(shown.scene, pan=(0.0, 0.0))
        [stem] = {
            question.stem.removeprefix(says.format(scene.anchor))
            for says in SAYS
            if question.stem.startswith(says.format(scene.anchor))
        }
        way = re.fullmatch(r"which of .+ is (left of|right of|above|below) what comes later\?", stem)[1]
        there, then = measure(at_rest(scene)), measure(scene, scene.seconds - 1)
        [late] = [f for f in then if f.name not in {f.name for f in there}]
        comes = next(t for t in range(scene.seconds) if late.name in {f.name for f in measure(scene, t)})
        right = question.options[question.right]
        assert beside(late, then, way).name == right
        found = {f.name: f for f in then}
        sides = {name: side(found[name], late) for name in question.options}
        assert [name for name in sides if sides[name] == sides[right]] == [right]
        compared = ", ".join(f"{placed(found[name])} {sides[name]} {name}" for name in question.options)
        said = f"{clocked(shown.start + comes)} {placed(late)}: {compared}: {sides[right]}"
        assert question.evidence == said


def seconds_of(clock):
    minutes, seconds = clock.split(":")
    return 60 * int(minutes) + int(seconds)


def names_of(found):
    return Counter(one.name for one in found)


def test_what_comes_or_moves_between_two_moments():
    rng, seen = np.random.default_rng(3), Counter()
    for _ in range(10):
        timeline, question = planned("changed", rng)
        first, last = map(
            seconds_of, re.fullmatch(r"what changes between (\S+) and (\S+)\?", question.stem).groups()
        )
        shown = timeline.at(first)
        assert shown is timeline.at(last)
        scene = shown.scene
        before, after = (measure(scene, t - shown.start) for t in (first, last))
        true = []
        for option in question.options:
            name, verb = re.fullmatch(r"the (.+) (comes|moves)", option).groups()
            came = names_of(before)[name] == 0 and names_of(after)[name] == 1
            at = [[f for f in found if f.name == name] for found in (before, after)]
            moved = len(at[0]) == 1 and np.hypot(at[0][0].x - at[1][0].x, at[0][0].y - at[1][0].y) > 0.1
            if came if verb == "comes" else moved:
                true.append(option)
        assert true == [question.options[question.right]]
        seen[true[0].split()[-1]] += 1
    assert min(seen.values()) >= 2


def test_in_which_scene_something_moves_fastest():
    rng = np.random.default_rng(4)
    for _ in range(5):
        timeline, question = planned("speed", rng, 80)
        assert ", ".join(question.options) in question.stem
        speeds = {}
        for one in (timeline.shown[k] for k in question.needles):
            moving = tuple(t for t in one.scene.things if t.velocity != (0.0, 0.0))
            [early], [late] = (measure(replace(one.scene, things=moving), age) for age in (0.0, 2.0))
            speeds[one.scene.anchor] = np.hypot((early.x - late.x) * SIZE[0], (early.y - late.y) * SIZE[1])
        assert set(speeds) == set(question.options)
        fastest = max(speeds, key=speeds.get)
        assert fastest == question.options[question.right]
        assert speeds[fastest] > 1.2 * sorted(speeds.values())[-2]


def test_one_description_alone_fits_what_is_drawn():
    rng = np.random.default_rng(5)
    for _ in range(8):
        timeline, question = planned("description", rng)
        scene = timeline.shown[question.needles[0]].scene
        there = {f"{f.name} {cell_of(f.x, f.y)}" for f in measure(replace(scene, pan=(0.0, 0.0)))}
        true = [option for option in question.options if set(option.split(", ")) <= there]
        assert true == [question.options[question.right]]
        words = {tuple(sorted(option.replace(",", "").split())) for option in question.options}
        assert len(words) == 1  # the same words in another order


@pytest.mark.parametrize("task", FURTHER_TASKS)
def test_what_the_words_alone_give_away(task):
    """Neither the place of the right option nor its rank among the four is worth a guess."""
    rng, place, rank = np.random.default_rng(7), Counter(), Counter()
    for _ in range(240):
        _, question = planned(task, rng, 80 if task == "speed" else 40)
        place[question.right] += 1
        rank[sorted(question.options).index(question.options[question.right])] += 1
    assert max(place.values()) < 0.36 * 240
    assert max(rank.values()) < 0.36 * 240


def test_they_are_asked_where_they_are_named_and_know_no_words_of_the_tokenizer(tmp_path):
    assert not FURTHER_TASKS.keys() & BUSY_TASKS.keys()
    assert list(EVERY_TASK) == [*BUSY_TASKS, *FURTHER_TASKS]
    assert not {"seconds", "changes", "fastest", "description"} & set(" ".join(busy_words()).split())
    settings = {"split": "test", "count": 2, "seconds": (60, 60), "seed": 3, "detail": "busy", "workers": 1}
    made = make_world(tmp_path, tasks=list(FURTHER_TASKS), size=(64, 64), **settings).read_text()
    assert all(f'"task":"{task}"' in made for task in FURTHER_TASKS)
