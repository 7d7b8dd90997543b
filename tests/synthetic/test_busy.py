"""Busy scenes: what they hold, and every answer worked out a second time from what is drawn."""

import re
from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
import pytest
from PIL import Image

from bvllm.synthetic.busy.compose import compose, random_kind
from bvllm.synthetic.busy.draw import draw_scene_over
from bvllm.synthetic.busy.phrases import SAYS
from bvllm.synthetic.busy.spatial import NEAREST, SPATIAL, ask_scene
from bvllm.synthetic.busy.tasks import BUSY_TASKS, LABELLED_KIND
from bvllm.synthetic.busy.things import LABELS, Scene, Thing
from bvllm.synthetic.busy.timeline import fresh_scenes, plan_busy
from bvllm.synthetic.draw import CARD, EDGE
from bvllm.synthetic.tokenizer import build_tokenizer
from bvllm.synthetic.vocabulary import COLOURS, SHAPES

SIZE = (640, 480)
GREY = (120, 120, 120)
PALETTE = np.array([*COLOURS.values()], dtype=float)


@dataclass(frozen=True)
class Found:
    """A thing as it is measured in the picture: nothing here is taken from the plan but which thing it is."""

    colour: str
    shape: str
    label: str | None
    x: float
    y: float
    height: float

    @property
    def name(self):
        return f"sign {self.label}" if self.label else f"{self.colour} {self.shape}"

    @property
    def size(self):
        return "small" if self.height < 0.15 else "large"


def picture(scene, age=0.0):
    return np.asarray(draw_scene_over(Image.new("RGB", SIZE, GREY), scene, age), dtype=np.int16)


def apart(pixels, colour):
    """How far pixels are from a colour: numpy sums three channels faster one by one than along an axis."""
    red, green, blue = np.moveaxis(np.abs(pixels - np.int16(colour)), -1, 0)
    return red + green + blue


def measure(scene, age=0.0):
    """Every thing drawn alone: where its pixels are, which colour they have, and which outline fits."""
    found = []
    for thing in scene.seen(age):
        pixels = picture(Scene((thing,), scene.seconds, pan=scene.pan), age)
        changed = (apart(pixels, GREY) > 30).nonzero()
        top, bottom = changed[0].min(), changed[0].max() + 1
        left, right = changed[1].min(), changed[1].max() + 1
        inside = pixels[top:bottom, left:right].reshape(-1, 3)
        lit = inside[(apart(inside, CARD) > 120) & (apart(inside, GREY) > 60)]
        if thing.is_sign:
            lit = lit if thing.colour == "white" else lit[apart(lit, EDGE) > 60]
        lit = lit[lit.sum(axis=1) >= np.median(lit.sum(axis=1))]  # stripes and dots are darker
        near = np.linalg.norm(lit[:, None] - PALETTE[None], axis=-1).argmin(axis=1)
        colour = list(COLOURS)[int(np.bincount(near, minlength=len(COLOURS)).argmax())]
        found.append(
            Found(
                colour,
                "sign" if thing.is_sign else outline(pixels[top:bottom, left:right]),
                thing.label,
                (left + right) / 2 / SIZE[0],
                (top + bottom) / 2 / SIZE[1],
                (bottom - top) / SIZE[1],
            )
        )
    return found


def outline(pixels):
    """The shape whose own drawing covers the most of the same pixels."""
    mask = shown(pixels)
    scores = {}
    for shape, template in TEMPLATES.items():
        other = np.asarray(template.resize(mask.shape[::-1])) > 127
        scores[shape] = (mask & other).sum() / (mask | other).sum()
    return max(scores, key=scores.get)


def shown(pixels):
    """Pixels of a thing: whatever is not the grey behind."""
    return apart(pixels, GREY) > 60


def templates():
    """The outline of every shape, drawn alone."""
    found = {}
    for shape in SHAPES:
        own = shown(picture(Scene((Thing(shape, "yellow", 0.5, 0.5, 0.12),), 3)))
        rows, columns = own.nonzero()
        cut = own[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        found[shape] = Image.fromarray((255 * cut).astype(np.uint8))
    return found


TEMPLATES = templates()
SIDES = {"left of": (-1, 0), "right of": (1, 0), "above": (0, -1), "below": (0, 1)}


def beside(thing, things, side):
    """The nearest thing on a side, by the measured centres."""
    ratio = SIZE[0] / SIZE[1]
    steps = [
        ((other.x - thing.x) * ratio, other.y - thing.y, other) for other in things if other is not thing
    ]
    dx, dy = SIDES[side]
    fit = [
        (np.hypot(x, y), other) for x, y, other in steps
        if (x * dx > abs(y) + 0.01 if dx else y * dy > abs(x) + 0.01)  # what lies on a diagonal is on no side
    ]  # fmt: skip
    return min(fit, key=lambda pair: pair[0])[1]


def answer(stem, found):
    """The answer to a spatial question, from what was measured."""
    shapes = [f for f in found if f.label is None]
    if m := re.fullmatch(r"which colour is the (small|large) (\w+)\?", stem):
        [one] = [f for f in shapes if (f.size, f.shape) == m.groups()]
        return one.colour
    if m := re.fullmatch(r"which of .+ is (left of|right of|above|below) the (.+)\?", stem):
        [one] = [f for f in found if f.name == m[2]]
        return beside(one, found, m[1]).name
    if m := re.fullmatch(r"how many (\w+) things are there\?", stem):
        return str(sum(f.colour == m[1] for f in shapes))
    if m := re.fullmatch(r"how many times is a (\w+) there\?", stem):
        return str(sum(f.shape == m[1] for f in shapes))
    if m := re.fullmatch(r"what does the (\w+) sign say\?", stem):
        [one] = [f for f in found if f.label and f.colour == m[1]]
        return one.label
    if m := re.fullmatch(r"what does the sign (left of|right of|above|below) the (.+) say\?", stem):
        [one] = [f for f in shapes if f.name == m[2]]
        return beside(one, [f for f in found if f.label] + [one], m[1]).label
    if stem == "which thing is the odd one out?":
        for attribute in ("shape", "colour"):
            counts = Counter(getattr(f, attribute) for f in shapes)
            if len(counts) == 2 and 1 in counts.values():
                return next(f.name for f in shapes if counts[getattr(f, attribute)] == 1)
    if m := re.fullmatch(r"what is at the (.+)\?", stem):
        [one] = [f for f in shapes if part(f) == m[1]]
        return one.name
    raise AssertionError(stem)


def part(thing):
    """The part of the frame that a measured thing is in."""
    return part_of(int(thing.x * 3), int(thing.y * 3))


def part_of(across, down):
    row, column = ("top", "middle", "bottom")[down], ("left", "middle", "right")[across]
    return row if row == column else f"{row} {column}"


def placed(thing, name=None):
    """A measured thing and its place in sixteenths of the frame, from 10 on."""
    return f"{name or thing.name} {10 + round(16 * thing.x)} {10 + round(16 * thing.y)}"


def side(thing, known):
    """On which side of another a measured thing is."""
    across, down = (thing.x - known.x) * SIZE[0] / SIZE[1], thing.y - known.y
    if abs(across) > abs(down) + 1e-3:
        return "left" if across < 0 else "right"
    return "above" if down < 0 else "below"


def grounds(question, found):
    """What a spatial answer should say that it rests on, from what was measured."""
    shapes, stem = [f for f in found if f.label is None], question.stem
    by_name = {f.name: f for f in found}
    if m := re.fullmatch(r"which colour is the (small|large) (\w+)\?", stem):
        [one] = [f for f in shapes if (f.size, f.shape) == m.groups()]
        return f"{m[1]} {m[2]} {part(one)}"
    if m := re.fullmatch(r"which of .+ is (?:left of|right of|above|below) the (.+)\?", stem):
        known, right = by_name[m[1]], question.options[question.right]
        sides = {name: side(by_name[name], known) for name in question.options}
        assert [name for name in sides if sides[name] == sides[right]] == [right]
        compared = [f"{placed(by_name[name])} {sides[name]} {name}" for name in question.options]
        return f"{placed(known)}: {', '.join(compared)}: {sides[right]}"
    if m := re.fullmatch(r"how many (?:times is a )?(\w+) (?:things are there|there)\?", stem):
        fit = sorted((int(f.y * 3), int(f.x * 3), f.x, f.name) for f in shapes if m[1] in (f.colour, f.shape))
        return ", ".join(f"{name} {part_of(x, y)}" for y, x, _, name in fit)
    if m := re.fullmatch(r"what does the (\w+) sign say\?", stem):
        [one] = [f for f in found if f.label and f.colour == m[1]]
        return f"{m[1]} sign {part(one)}"
    if m := re.fullmatch(r"what does the sign (left of|right of|above|below) the (.+) say\?", stem):
        one = by_name[m[2]]
        sign = beside(one, [f for f in found if f.label] + [one], m[1])
        return f"{one.name} {part(one)}, {sign.colour} sign {part(sign)}"
    if stem == "which thing is the odd one out?":
        return part(by_name[answer(stem, found)])
    return ""  # the question says where


def at_rest(scene):
    """A scene without what comes later."""
    return replace(scene, things=tuple(t for t in scene.things if not t.arrives))


@pytest.mark.parametrize("task", SPATIAL)
def test_every_spatial_answer_is_what_the_picture_shows(task):
    rng = np.random.default_rng(sorted(SPATIAL).index(task))
    asked = 0
    while asked < 8:
        scene = compose(
            rng, SPATIAL[task][0], str(rng.choice(LABELS)), [str(x) for x in rng.choice(LABELS, 3)]
        )
        question = ask_scene(rng, scene, task)
        if question is None or len(set(scene.labels)) < len(scene.labels):
            continue
        asked += 1
        found = measure(at_rest(scene))
        assert answer(question.stem, found) == question.options[question.right], (question, scene)
        assert question.evidence == grounds(question, found)


def test_a_moving_thing_moves_as_the_answer_says_and_others_stand():
    rng = np.random.default_rng(4)
    ways = Counter()
    for _ in range(14):
        timeline = plan_busy(rng, 12, ["motion"], fresh_scenes(rng), questions=1)
        [question] = timeline.questions
        scene = timeline.shown[question.needles[0]].scene
        [name] = re.findall(r"does the (.+) move", question.stem)
        pan = Scene(scene.things, scene.seconds)  # without the camera's own move
        first, last = measure(pan, 0.0), measure(pan, scene.seconds - 1)
        moved = {
            f.name: (g.x - f.x, g.y - f.y)
            for f, g in zip(first, last, strict=True)
            if (f.x, f.y) != (g.x, g.y)
        }
        assert list(moved) == [name]
        dx, dy = moved[name]
        way = ("left" if dx < 0 else "right") if abs(dx) > abs(dy) else ("up" if dy < 0 else "down")
        assert way == question.options[question.right]
        ways[way] += 1
        # Its evidence: when and where at both ends, in sixteenths of the frame across and down.
        shown = timeline.shown[question.needles[0]]
        ends = [f for age in (0.0, scene.seconds - 1) for f in measure(scene, age) if f.name == name]
        times = (clocked(shown.start), clocked(shown.end - 1))
        said = [f"{time} {placed(one)}" for time, one in zip(times, ends, strict=True)]
        assert question.evidence == ", ".join(said)
    assert len(ways) == 4


def clocked(seconds):
    return f"{int(seconds) // 60:02d}:{int(seconds) % 60:02d}"


def test_a_spatial_answer_says_when_its_scene_begins_and_then_where():
    rng = np.random.default_rng(8)
    seen = Counter()
    for _ in range(12):
        timeline = plan_busy(rng, 60, [str(t) for t in rng.permutation(list(SPATIAL))], fresh_scenes(rng))
        for question in timeline.questions:
            start, _, where = question.evidence.partition(" ")
            assert start == clocked(timeline.shown[question.needles[0]].start)
            scene = timeline.shown[question.needles[0]].scene
            asked = next(
                question.stem[len(says) :]
                for says in [says.format(scene.anchor) for says in SAYS]
                if question.stem.startswith(says)
            )
            assert where == grounds(replace(question, stem=asked), measure(at_rest(scene)))
            assert question.answer == f"{question.evidence} = {question.options[question.right]}"
            seen[question.task] += 1
    assert len(seen) == len(SPATIAL)


def test_what_comes_later_was_not_there_before():
    rng = np.random.default_rng(5)
    for _ in range(10):
        timeline = plan_busy(rng, 12, ["arrival"], fresh_scenes(rng), questions=1)
        [question] = timeline.questions
        scene = timeline.shown[question.needles[0]].scene
        before = {f.name for f in measure(scene, 0.0)}
        after = {f.name for f in measure(scene, scene.seconds - 1)}
        assert after - before == {question.options[question.right]}
        start = timeline.shown[question.needles[0]].start
        where = {f.name: part(f) for f in measure(scene, 0.0)}
        there = [f"{name} {where.get(name, 'nothing')}" for name in question.options]
        assert question.evidence == f"{clocked(start)} {', '.join(there)}"


@pytest.mark.parametrize("seconds", [64, 600])
def test_every_question_about_time_by_the_signs_that_are_shown(seconds):
    rng = np.random.default_rng(seconds)
    seen = Counter()
    for _ in range(12):
        tasks = ["order", "when", "next", "repetition"]
        timeline = plan_busy(rng, seconds, [tasks[k] for k in rng.permutation(4)], fresh_scenes(rng))
        signs = [(shown.start, shown.scene.labels) for shown in timeline.shown]
        starts = [s for s, _ in signs]
        assert starts == sorted(starts)
        for question in timeline.questions:
            right = question.options[question.right]
            if question.task == "order":
                names, end = re.fullmatch(
                    r"which of the signs (.+) is shown (first|last)\?", question.stem
                ).groups()
                times = {n: [s for s, labels in signs if n in labels] for n in names.split(", ")}
                assert all(len(t) == 1 for t in times.values()), "each is shown once"
                assert right == (min if end == "first" else max)(times, key=lambda n: times[n][0])
                said = [f"{name} {clocked(times[name][0])}" for name in question.options]
                assert question.evidence == ", ".join(said)
            elif question.task == "when":
                [label] = re.findall(r"sign (\w+) appear", question.stem)
                [start] = [s for s, labels in signs if label in labels]
                assert right == clocked(start)
            elif question.task == "next":
                way, label = re.fullmatch(
                    r"which of the signs .* right (after|before) the sign (\w+)\?", question.stem
                ).groups()
                [place] = [k for k, (_, labels) in enumerate(signs) if label in labels]
                asked = signs[place + (1 if way == "after" else -1)]
                assert right in asked[1]
                times = {n: [s for s, labels in signs if n in labels] for n in (label, *question.options)}
                assert question.evidence == ", ".join(f"{n} {clocked(s[0])}" for n, s in times.items())
            else:
                [label] = re.findall(r"sign (\w+) shown", question.stem)
                assert right == str(sum(label in labels for _, labels in signs))
                times = [clocked(start) for start, labels in signs if label in labels]
                assert question.evidence == ", ".join(times)
            seen[question.task] += 1
    assert len(seen) == 4


def test_a_repeated_sign_is_shown_by_scenes_that_differ():
    """A pool gives the same scene twice now and then; its places in time could not be told apart."""
    rng = np.random.default_rng(9)
    fresh, kept = fresh_scenes(rng), {}

    def few(kind, label, without):
        if kind != LABELLED_KIND:
            return fresh(kind, label, without)
        own = kept.setdefault(label, [fresh(kind, label, without) for _ in range(3)])
        return own[int(rng.integers(3))]

    times = Counter()
    for _ in range(40):
        for question in plan_busy(rng, 90, ["repetition", "binding"], few, questions=2).questions:
            if question.task == "repetition":
                right = int(question.options[question.right])
                assert len(set(question.needles)) == len(question.needles) == right
                times[right] += 1
    assert {1, 2} <= set(times) <= {1, 2, 3}


def test_scenes_hold_what_was_promised():
    rng = np.random.default_rng(1)
    scenes = [compose(rng, random_kind(rng), str(rng.choice(LABELS)), LABELS[:5]) for _ in range(400)]
    counts = np.array([len(scene.things) for scene in scenes])
    assert counts.min() >= 4
    assert counts.max() <= 16
    assert min(len(scene.seen(0.0)) for scene in scenes) >= 4
    assert (counts > 8).mean() > 0.5
    sizes = np.array([thing.size for scene in scenes for thing in scene.shapes])
    assert 0.4 < (sizes < 0.075).mean() < 0.8
    assert sum(len(scene.labels) > 1 for scene in scenes) > 60
    assert sum(scene.pan != (0.0, 0.0) for scene in scenes) > 80


def test_right_answers_stand_in_every_place_and_no_option_twice():
    rng = np.random.default_rng(2)
    places, tasks = Counter(), Counter()
    for _ in range(60):
        timeline = plan_busy(rng, 60, [str(t) for t in rng.permutation(list(BUSY_TASKS))], fresh_scenes(rng))
        assert sum(s.end - s.start for s in timeline.shown) == 60
        for question in timeline.questions:
            places[question.right] += 1
            tasks[question.task] += 1
            assert len(set(question.options)) == len(question.options) == 4
    assert set(tasks) == set(BUSY_TASKS)
    assert min(places.values()) > 0.18 * sum(places.values())


def test_the_same_seed_plans_the_same_and_a_scene_too_long_is_an_error():
    one, other = (
        plan_busy(np.random.default_rng(3), 40, list(BUSY_TASKS), fresh_scenes(np.random.default_rng(3)))
        for _ in range(2)
    )
    assert one.questions == other.questions
    with pytest.raises(ValueError, match="seconds must leave room"):
        plan_busy(np.random.default_rng(3), 2, list(BUSY_TASKS), fresh_scenes(np.random.default_rng(3)))


def test_the_tokenizer_has_a_word_for_all_of_it():
    tokenizer, rng = build_tokenizer(), np.random.default_rng(6)
    for _ in range(20):
        timeline = plan_busy(rng, 60, list(BUSY_TASKS), fresh_scenes(rng))
        for question in timeline.questions:
            pieces = tokenizer.convert_ids_to_tokens(tokenizer(question.stem)["input_ids"])
            words = [p for p in pieces if p.startswith("##") and not p[2:].isdigit()]
            assert not words, (question.stem, words)
    assert NEAREST > 1


@pytest.mark.parametrize("task", ["counting", "repetition", "when"])
def test_the_options_alone_do_not_tell_a_number(task):
    """A blind model may know how often each place among the options, in their order, is the right one."""
    ranks = Counter()
    for seed in range(200):
        rng = np.random.default_rng((seed, 5))
        try:
            timeline = plan_busy(rng, 90.0, [task] * 4, fresh_scenes(rng), questions=4)
        except ValueError:
            continue
        for question in timeline.questions:
            number = [int(option.replace(":", "")) for option in question.options]
            ranks[sorted(number).index(number[question.right])] += 1
    asked = sum(ranks.values())
    assert asked > 300
    assert len(ranks) == 4
    # A guess is right in 25 %; two and a half standard deviations are 6 points of 300.
    assert max(ranks.values()) / asked < 0.30 + 0.06, ranks
