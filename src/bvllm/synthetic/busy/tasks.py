"""Define what is asked about busy scenes, and what the answer is.

A task first asks for the scenes that it needs, each with a sign that no other scene carries, so that the
question can name it. When all scenes have their place in time, it asks. Answers are worked out from the
things alone; `tests/synthetic` works them out a second time from what is drawn.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from bvllm.common.text import format_clock
from bvllm.synthetic.busy import evidence
from bvllm.synthetic.busy.compose import LONGEST, SHORTEST, random_label
from bvllm.synthetic.busy.phrases import SAYS
from bvllm.synthetic.busy.things import ASPECT, LABELS, Scene, Thing, cell_of
from bvllm.synthetic.draft import OPTIONS, Question, shuffle_options
from bvllm.synthetic.sampling import pick
from bvllm.synthetic.vocabulary import COLOURS, SHAPES

SIDES = {"left of": (-1, 0), "right of": (1, 0), "above": (0, -1), "below": (0, 1)}
NEAREST = 1.2  # the second nearest is at least so many times as far
# How often a number is tried: 97, 94, 77 and 50 % of 3 000 scenes have a colour, or a shape, so many times.
COUNTED = (0.19, 0.20, 0.24, 0.37)
MOST_COUNTED = 3  # as many numbers as there are options: the options alone never tell which is right
LABELLED_KIND = "labelled"  # a scene of any kind whose first sign says what was asked for
MOST_TIMES = 4
DIRECTIONS = {(-1, 0): "left", (1, 0): "right", (0, -1): "up", (0, 1): "down"}


@dataclass(frozen=True)
class Shown:
    """A scene and when it is shown.

    Attributes:
        start, end: seconds.
    """

    scene: Scene
    start: float
    end: float


Asker = Callable[[Sequence[Shown]], Question]


@dataclass
class Plan:
    """What the tasks have asked for so far.

    Attributes:
        rng: decides everything.
        room: seconds that are left.
        source: where scenes come from (see `timeline.SceneSource`).
        groups: scenes that must follow one another, group by group.
        reserved: labels that no other scene may carry.
    """

    rng: np.random.Generator
    room: int
    source: Callable[[str, str | None, frozenset[str]], Scene]
    groups: list[list[Scene]] = field(default_factory=list)
    reserved: set[str] = field(default_factory=set)

    def scene(self, kind: str) -> Scene | None:
        """A scene with a sign of its own; None where there is no room or no label left. Not kept yet."""
        label = random_label(self.rng, self.reserved)
        if label is None:
            return None
        scene = self.source(kind, label, frozenset(self.reserved | {label}))
        fits = scene.seconds <= self.room and not self.reserved & set(scene.labels)
        return scene if fits and scene.anchor is not None else None

    def keep(self, *groups: list[Scene]) -> None:
        """Take scenes into the video, and their labels from all others."""
        for group in groups:
            self.groups.append(group)
            self.room -= sum(scene.seconds for scene in group)
            for scene in group:
                self.reserved |= set(scene.labels)


BusyTask = Callable[[Plan], Asker | None]


def place_of(scene: Scene, shown: Sequence[Shown]) -> int:
    """Where a scene stands in the finished video."""
    return next(k for k, one in enumerate(shown) if one.scene is scene)


def _spatial(task: str, kind: str, ask: "AskScene") -> BusyTask:
    """A question about one scene, named by its sign: stem, answer, wrong answers."""

    def draft(plan: Plan) -> Asker | None:
        scene = plan.scene(kind)
        found = None if scene is None else ask(plan.rng, scene)
        if scene is None or found is None:
            return None
        stem, answer, wrong, about = found
        if len(dict.fromkeys(w for w in wrong if w != answer)) < OPTIONS - 1:
            return None
        plan.keep([scene])
        options, right = shuffle_options(plan.rng, answer, wrong)
        said = pick(plan.rng, SAYS).format(scene.anchor) + stem
        rests_on = evidence.of_scene(task, about)

        def pose(shown: Sequence[Shown]) -> Question:
            place = place_of(scene, shown)
            told = evidence.at(shown[place].start, rests_on)
            return Question(task, said, options, right, told, (place,), about=tuple(about))

        return pose

    return draft


def ask_scene(rng: np.random.Generator, scene: Scene, task: str) -> Question | None:
    """One spatial question about a scene without naming it: for single frames."""
    found = SPATIAL[task][1](rng, scene)
    if found is None:
        return None
    stem, answer, wrong, about = found
    if len(dict.fromkeys(w for w in wrong if w != answer)) < OPTIONS - 1:
        return None
    options, right = shuffle_options(rng, answer, wrong)
    return Question(task, stem, options, right, evidence.of_scene(task, about), (0,), about=tuple(about))


# Stem, answer, wrong answers, and the things that the question is about.
Found = tuple[str, str, list[str], Sequence[Thing]]


def binding(rng: np.random.Generator, scene: Scene) -> Found | None:
    """Two things of one shape differ in size: what colour has the one?"""
    counts = Counter((thing.size_word, thing.shape) for thing in scene.shapes)
    shapes = {shape for size, shape in counts if counts[size, shape] == 1 and counts[_other(size), shape]}
    fit = [t for t in scene.shapes if t.shape in shapes and counts[t.size_word, t.shape] == 1]
    fit = [
        t for t in fit if all(o.colour != t.colour for o in scene.shapes if o.shape == t.shape and o is not t)
    ]
    if not fit:
        return None
    thing = fit[int(rng.integers(len(fit)))]
    near = [o.colour for o in scene.shapes if o.shape == thing.shape and o is not thing]
    wrong = [near[0], *_shuffled(rng, [c for c in COLOURS if c not in (thing.colour, near[0])])]
    return f"which colour is the {thing.size_word} {thing.shape}?", thing.colour, wrong, [thing]


def relation(rng: np.random.Generator, scene: Scene) -> Found | None:
    """What stands beside a thing, on a side."""
    things = [t for t in scene.things if not t.arrives and t.velocity == (0.0, 0.0)]
    known = _unmistakable(things)
    for thing in _shuffled(rng, known):
        for side in _shuffled(rng, list(SIDES)):
            beside = _nearest(thing, things, SIDES[side])
            if beside is None or beside.is_sign or not any(beside is t for t in known):
                continue
            wrong = _shuffled(rng, [t.name for t in known if not (t.is_sign or t is beside or t is thing)])
            what = f"sign {thing.label}" if thing.is_sign else thing.name
            return f"what is {side} the {what}?", beside.name, wrong, [thing, beside]
    return None


def counting(rng: np.random.Generator, scene: Scene) -> Found | None:
    """How many things share a colour, or a shape."""
    things = [t for t in scene.shapes if not t.arrives]
    by_colour = rng.random() < 0.5
    values = [t.colour if by_colour else t.shape for t in things]
    wanted = int(rng.choice(MOST_COUNTED + 1, p=COUNTED))
    counts = Counter(values)
    options = [v for v in (list(COLOURS) if by_colour else SHAPES) if counts[v] == wanted]
    if not options:
        return None
    value = pick(rng, tuple(options))
    true = counts[value]
    near = [n for n in range(MOST_COUNTED + 1) if n != true]
    stem = f"how many {value} things are there?" if by_colour else f"how many times is a {value} there?"
    about = [t for t, v in zip(things, values) if v == value]
    return stem, str(true), _shuffled(rng, [str(n) for n in near]), about


def reading(rng: np.random.Generator, scene: Scene) -> Found | None:
    """What a sign says that is named by its letters' colour, or by what stands beside it."""
    signs = [t for t in scene.things if t.is_sign]
    asked = signs[1:]
    if not asked:
        return None
    sign = asked[int(rng.integers(len(asked)))]
    label = str(sign.label)
    pool = [x for x in LABELS if x.isdigit() == label.isdigit() and x != label]
    wrong = [str(t.label) for t in signs if t is not sign and str(t.label).isdigit() == label.isdigit()]
    wrong += _shuffled(rng, pool)[:OPTIONS]
    if rng.random() < 0.5 and sum(t.colour == sign.colour for t in signs) == 1:
        return f"what does the {sign.colour} sign say?", label, wrong, [sign]
    names = Counter(t.name for t in scene.shapes)
    still = [t for t in scene.things if not t.arrives and t.velocity == (0.0, 0.0)]
    for side in _shuffled(rng, list(SIDES)):
        for thing in _shuffled(rng, [t for t in still if not t.is_sign and names[t.name] == 1]):
            if _nearest(thing, [t for t in still if t.is_sign or t is thing], SIDES[side]) is sign:
                return f"what does the sign {side} the {thing.name} say?", label, wrong, [sign, thing]
    return None


def odd_one(rng: np.random.Generator, scene: Scene) -> Found | None:
    """The one thing that is unlike all others in shape, or in colour."""
    things = [t for t in scene.shapes if not t.arrives]
    for attribute in ("shape", "colour"):
        counts = Counter(getattr(t, attribute) for t in things)
        if len(counts) == 2 and min(counts.values()) == 1 and len(things) > 3:
            [odd] = [t for t in things if counts[getattr(t, attribute)] == 1]
            wrong = (
                [f"{c} {odd.shape}" for c in COLOURS]
                if attribute == "shape"
                else [f"{odd.colour} {s}" for s in SHAPES]
            )
            near = _shuffled(rng, [t.name for t in things if t is not odd])
            return "which thing is the odd one out?", odd.name, [near[0], *_shuffled(rng, wrong)], [odd]
    return None


def region(rng: np.random.Generator, scene: Scene) -> Found | None:
    """What is in one of nine parts of the frame, where there is one thing alone.

    The options are things of one size: what is large is alone more often.
    """
    things = [t for t in scene.shapes if not t.arrives and t.velocity == (0.0, 0.0)]
    cells = Counter(cell_of(t.x, t.y) for t in things)
    known = _unmistakable(things)
    sizes = Counter(t.size_word for t in known)
    alone = [t for t in known if cells[cell_of(t.x, t.y)] == 1 and _well_inside(t)]
    alone = [t for t in alone if sizes[t.size_word] >= OPTIONS]
    if not alone:
        return None
    thing = alone[int(rng.integers(len(alone)))]
    wrong = _shuffled(rng, [t.name for t in known if t.size_word == thing.size_word and t is not thing])
    return f"what is at the {cell_of(thing.x, thing.y)}?", thing.name, wrong, [thing]


AskScene = Callable[[np.random.Generator, Scene], Found | None]
SPATIAL: dict[str, tuple[str, AskScene]] = {
    "binding": ("mixed", binding),
    "relation": ("mixed", relation),
    "counting": ("mixed", counting),
    "reading": ("signs", reading),
    "odd": ("odd", odd_one),
    "region": ("mixed", region),
}


def _motion(plan: Plan) -> Asker | None:
    scene = plan.scene("mover")
    if scene is None:
        return None
    movers = [t for t in scene.shapes if t.velocity != (0.0, 0.0)]
    if len(movers) != 1:
        return None
    plan.keep([scene])
    [thing] = movers
    way = DIRECTIONS[int(np.sign(thing.velocity[0])), int(np.sign(thing.velocity[1]))]
    options, right = shuffle_options(plan.rng, way, [d for d in DIRECTIONS.values() if d != way])
    stem = pick(plan.rng, SAYS).format(scene.anchor) + f"which way does the {thing.name} move?"

    def ask(shown: Sequence[Shown]) -> Question:
        place = place_of(scene, shown)
        told = evidence.of_motion(scene, thing, shown[place].start, shown[place].end)
        return Question("motion", stem, options, right, told, (place,), about=(thing,))

    return ask


def _arrival(plan: Plan) -> Asker | None:
    scene = plan.scene("arrival")
    if scene is None:
        return None
    late = [t for t in scene.shapes if t.arrives]
    there = [t.name for t in _unmistakable(scene.shapes) if not t.arrives]
    if len(late) != 1 or len(there) < OPTIONS - 1:
        return None
    plan.keep([scene])
    options, right = shuffle_options(plan.rng, late[0].name, _shuffled(plan.rng, there))
    stem = pick(plan.rng, SAYS).format(scene.anchor) + "what comes later than the other things?"

    def ask(shown: Sequence[Shown]) -> Question:
        place = place_of(scene, shown)
        told = evidence.at(shown[place].start, evidence.where(late[0]))
        return Question("arrival", stem, options, right, told, (place,), about=(late[0],))

    return ask


def _order(plan: Plan) -> Asker | None:
    """Four signs: which is shown first, or last?"""
    scenes = _of_other_signs(plan, OPTIONS)
    if scenes is None:
        return None
    plan.keep(*[[scene] for scene in scenes])
    end = pick(plan.rng, ("first", "last"))

    def ask(shown: Sequence[Shown]) -> Question:
        by_time = sorted(scenes, key=lambda scene: place_of(scene, shown))
        true = by_time[0 if end == "first" else -1]
        names = [str(scene.anchor) for scene in scenes]
        options, right = shuffle_options(plan.rng, str(true.anchor), names)
        stem = f"which of the signs {', '.join(names)} is shown {end}?"
        return Question("order", stem, options, right, "", tuple(place_of(s, shown) for s in by_time))

    return ask


def _of_other_signs(plan: Plan, count: int) -> list[Scene] | None:
    """Scenes of which no two have a sign in common; None where there is no room. Not kept yet."""
    scenes: list[Scene] = []
    for _ in range(count):
        scene = plan.scene("mixed")
        if scene is None or any(set(scene.labels) & set(other.labels) for other in scenes):
            return None
        scenes.append(scene)
    return scenes if sum(scene.seconds for scene in scenes) <= plan.room else None


def _when(plan: Plan) -> Asker | None:
    # Room for as many scenes as options: the wrong times are those at which others begin.
    scene = plan.scene("mixed") if plan.room >= OPTIONS * LONGEST else None
    if scene is None:
        return None
    plan.keep([scene])

    def ask(shown: Sequence[Shown]) -> Question:
        at = shown[place_of(scene, shown)]
        true, last = int(at.start), int(shown[-1].end)
        apart = max(SHORTEST, last // 25)
        # Other scenes begin at the wrong times, too: else 00:00 and whatever leaves no room would tell.
        begins = [int(one.start) for one in shown if one is not at]
        wrong: list[int] = []
        for other in _shuffled(plan.rng, begins):
            if len(wrong) < OPTIONS - 1 and all(abs(other - time) >= apart for time in (true, *wrong)):
                wrong.append(other)
        while len(wrong) < OPTIONS - 1:
            other = int(plan.rng.integers(0, last))
            apart = max(1, apart - 1) if plan.rng.random() < 0.1 else apart
            if all(abs(other - time) >= apart for time in (true, *wrong)):
                wrong.append(other)
        options, right = shuffle_options(plan.rng, format_clock(true), [format_clock(t) for t in wrong])
        stem = f"when does the sign {scene.anchor} appear?"
        return Question("when", stem, options, right, "", (place_of(scene, shown),), about=scene.things[:1])

    return ask


def _next(plan: Plan) -> Asker | None:
    """Which sign comes right after, or right before, another.

    The wrong signs are shown, too: else the one option that the video shows at all would be right.
    """
    scenes = _of_other_signs(plan, OPTIONS + 1)
    if scenes is None:
        return None
    first, second, *others = scenes
    plan.keep([first, second], *[[scene] for scene in others])
    after = bool(plan.rng.random() < 0.5)
    known, asked = (first, second) if after else (second, first)
    options, right = shuffle_options(plan.rng, str(asked.anchor), [str(scene.anchor) for scene in others])
    stem = f"which sign comes right {'after' if after else 'before'} the sign {known.anchor}?"

    def ask(shown: Sequence[Shown]) -> Question:
        told = evidence.of_times(shown[place_of(one, shown)].start for one in (known, asked))
        return Question("next", stem, options, right, told, (place_of(first, shown), place_of(second, shown)))

    return ask


def _repetition(plan: Plan) -> Asker | None:
    """How often a sign is shown: the same label in several scenes."""
    label = random_label(plan.rng, plan.reserved)
    # Room for the most, however many it will be: else short videos would give the answer away.
    if label is None or plan.room < (2 * MOST_TIMES - 1) * LONGEST:
        return None
    times = int(plan.rng.integers(1, MOST_TIMES + 1))
    scenes: list[Scene] = []
    for _ in range(times):
        scene = plan.source(LABELLED_KIND, label, frozenset(plan.reserved | {label}))
        if scene.anchor != label or sum(s.seconds for s in scenes) + scene.seconds > plan.room:
            return None
        if plan.reserved & set(scene.labels) or any(scene is other for other in scenes):
            return None
        scenes.append(scene)
    gap = plan.source("mixed", None, frozenset(plan.reserved | {label}))
    if sum(s.seconds for s in scenes) + (times - 1) * gap.seconds > plan.room:
        return None
    plan.keep(*[[scene] for scene in scenes])
    near = [str(n) for n in range(1, MOST_TIMES + 1) if n != times]
    options, right = shuffle_options(plan.rng, str(times), _shuffled(plan.rng, near))
    stem = f"in how many scenes is the sign {label} shown?"

    def ask(shown: Sequence[Shown]) -> Question:
        places = tuple(sorted(place_of(s, shown) for s in scenes))
        told = evidence.of_times(shown[place].start for place in places)
        return Question("repetition", stem, options, right, told, places)

    return ask


BUSY_TASKS: dict[str, BusyTask] = {
    **{name: _spatial(name, kind, ask) for name, (kind, ask) in SPATIAL.items()},
    "motion": _motion,
    "arrival": _arrival,
    "order": _order,
    "when": _when,
    "next": _next,
    "repetition": _repetition,
}


def _nearest(thing: Thing, things: Sequence[Thing], side: tuple[int, int]) -> Thing | None:
    """The thing nearest on a side, if no other is nearly as near; None where there is none."""
    found = []
    for other in things:
        if other is thing:
            continue
        dx, dy = (other.x - thing.x) * ASPECT, other.y - thing.y
        along, across = (dx * side[0], abs(dy)) if side[0] else (dy * side[1], abs(dx))
        if along > 0 and along > across:
            found.append((float(np.hypot(dx, dy)), other))
    found.sort(key=lambda pair: pair[0])
    if not found or (len(found) > 1 and found[1][0] < NEAREST * found[0][0]):
        return None
    return found[0][1]


def _unmistakable(things: Sequence[Thing]) -> list[Thing]:
    """Those whose name no other has: of a name that two things have, one of them is the answer more often."""
    names = Counter(thing.name for thing in things)
    return [thing for thing in things if names[thing.name] == 1]


def _well_inside(thing: Thing) -> bool:
    """Whether its centre is no closer to the border of its ninth than a thirtieth of the frame."""
    return all(min(abs(v - 1 / 3), abs(v - 2 / 3)) > 1 / 30 for v in (thing.x, thing.y))


def _other(size: str) -> str:
    return "large" if size == "small" else "small"


def _shuffled(rng: np.random.Generator, values: "Sequence[object]") -> list:  # type: ignore[type-arg]  # of whatever it is given
    return [values[k] for k in rng.permutation(len(values)).tolist()]
