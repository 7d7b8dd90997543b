"""Define what is asked about busy videos, and what the answer is.

A task first asks for the scenes that it needs, each with a sign that no other scene carries, so that the
question can name it. When all scenes have their place in time, it asks. Answers are worked out from the
things alone; `tests/synthetic` works them out a second time from what is drawn.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from bvllm.common.text import format_clock
from bvllm.synthetic.busy import evidence
from bvllm.synthetic.busy.compose import LONGEST, SHORTEST, random_label
from bvllm.synthetic.busy.phrases import SAYS
from bvllm.synthetic.busy.spatial import SPATIAL, AskScene, all_named, named, shuffled, unmistakable
from bvllm.synthetic.busy.things import Scene
from bvllm.synthetic.draft import OPTIONS, Question, shuffle_options
from bvllm.synthetic.sampling import pick

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
        said = pick(plan.rng, SAYS).format(scene.anchor) + stem.format(", ".join(options))
        things = all_named(task, scene, about, options)
        rests_on = evidence.of_scene(task, things, answer)

        def pose(shown: Sequence[Shown]) -> Question:
            place = place_of(scene, shown)
            told = evidence.at(shown[place].start, rests_on)
            return Question(task, said, options, right, told, (place,), about=things)

        return pose

    return draft


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
    there = [t.name for t in unmistakable(scene.shapes) if not t.arrives]
    if len(late) != 1 or len(there) < OPTIONS - 1:
        return None
    plan.keep([scene])
    options, right = shuffle_options(plan.rng, late[0].name, shuffled(plan.rng, there))
    stem = f"which of {', '.join(options)} comes later than the other things?"
    stem = pick(plan.rng, SAYS).format(scene.anchor) + stem

    def ask(shown: Sequence[Shown]) -> Question:
        place = place_of(scene, shown)
        compared = named(scene, options)
        told = evidence.of_arrival(shown[place].start, compared)
        return Question("arrival", stem, options, right, told, (place,), about=tuple(compared))

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
        options, right = shuffle_options(plan.rng, str(true.anchor), [str(scene.anchor) for scene in scenes])
        stem = f"which of the signs {', '.join(options)} is shown {end}?"
        told = evidence.of_signs(_started(scenes, options, shown))
        return Question("order", stem, options, right, told, tuple(place_of(s, shown) for s in by_time))

    return ask


def _started(
    scenes: Sequence[Scene], labels: Sequence[str], shown: Sequence[Shown]
) -> list[tuple[str, float]]:
    """Labels, and when the scenes begin that they name."""
    by_label = {str(scene.anchor): shown[place_of(scene, shown)].start for scene in scenes}
    return [(label, by_label[label]) for label in labels]


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
        for other in shuffled(plan.rng, begins):
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
    """Which of some signs comes right after, or right before, another.

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
    way = "after" if after else "before"
    stem = f"which of the signs {', '.join(options)} comes right {way} the sign {known.anchor}?"

    def ask(shown: Sequence[Shown]) -> Question:
        told = evidence.of_signs(_started(scenes, [str(known.anchor), *options], shown))
        return Question("next", stem, options, right, told, tuple(sorted(place_of(s, shown) for s in scenes)))

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
    options, right = shuffle_options(plan.rng, str(times), shuffled(plan.rng, near))
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
