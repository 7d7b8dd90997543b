"""Ask further questions about busy videos: how long, how fast, what changes, what it all looks like.

They are asked where they are named alone (`bvllm world make --tasks`): no embedded model was trained on
them, so they show what a model does with a question of a kind that it does not know. Some of their words are
not in the embedded models' tokenizer.
"""

import math
from collections.abc import Sequence
from itertools import permutations

from bvllm.common.text import format_clock
from bvllm.synthetic.busy import evidence
from bvllm.synthetic.busy.compose import LONGEST, SHORTEST
from bvllm.synthetic.busy.phrases import SAYS
from bvllm.synthetic.busy.spatial import at_rest, beside, named, shuffled, unmistakable, well_inside
from bvllm.synthetic.busy.tasks import BUSY_TASKS, Asker, BusyTask, Plan, Shown, place_of
from bvllm.synthetic.busy.things import ASPECT, Scene, Thing, cell_of
from bvllm.synthetic.draft import OPTIONS, Question, shuffle_options
from bvllm.synthetic.sampling import pick

SCENES_TRIED = 5  # for one over which the camera stands still, as it does over three in five
FASTER = 1.3  # the fastest thing is at least so many times as fast as the next


def _duration(plan: Plan) -> Asker | None:
    """How many seconds a scene lasts."""
    # Room for the longest, however long it will be: else what is left would tell.
    scene = plan.scene("mixed") if plan.room >= LONGEST else None
    if scene is None:
        return None
    plan.keep([scene])
    others = [str(n) for n in range(SHORTEST, LONGEST + 1) if n != scene.seconds]
    options, right = shuffle_options(plan.rng, str(scene.seconds), shuffled(plan.rng, others))
    stem = f"for how many seconds is the sign {scene.anchor} shown?"

    def ask(shown: Sequence[Shown]) -> Question:
        at = shown[place_of(scene, shown)]
        told = evidence.of_times((at.start, at.end - 1))
        return Question("duration", stem, options, right, told, (place_of(scene, shown),))

    return ask


def _beside_late(plan: Plan) -> Asker | None:
    """What stands on a side of the thing that comes later, which the question does not name."""
    scene = plan.scene("arrival")
    late = [] if scene is None else [t for t in scene.shapes if t.arrives]
    if scene is None or len(late) != 1:
        return None
    found = beside(plan.rng, late[0], [*at_rest(scene), late[0]], "what comes later")
    if found is None:
        return None
    plan.keep([scene])
    stem, answer, wrong, _ = found
    options, right = shuffle_options(plan.rng, answer, wrong)
    stem = pick(plan.rng, SAYS).format(scene.anchor) + stem.format(", ".join(options))
    compared = (late[0], *named(scene, options))

    def ask(shown: Sequence[Shown]) -> Question:
        place = place_of(scene, shown)
        told = evidence.at(
            shown[place].start + late[0].arrives, evidence.of_scene("relation", compared, answer)
        )
        return Question("beside", stem, options, right, told, (place,), about=compared)

    return ask


def _changed(plan: Plan) -> Asker | None:
    """What is other at one moment than at another: what comes, or what moves.

    Each of two things is said to come, and to move, so that neither names nor verbs tell which is right. The
    camera stands still: else all things would move.
    """
    comes = bool(plan.rng.random() < 0.5)
    drawn = (plan.scene("arrival" if comes else "mover") for _ in range(SCENES_TRIED))
    scene = next((one for one in drawn if one is not None and one.pan == (0.0, 0.0)), None)
    if scene is None:
        return None
    changes = [t for t in scene.shapes if t.arrives or t.velocity != (0.0, 0.0)]
    stays = [t for t in unmistakable(at_rest(scene)) if not t.is_sign]
    if len(changes) != 1 or not stays:
        return None
    plan.keep([scene])
    pair = (changes[0], stays[int(plan.rng.integers(len(stays)))])
    verbs = ("comes", "moves") if comes else ("moves", "comes")
    said = [f"the {thing.name} {verb}" for thing in pair for verb in verbs]
    options, right = shuffle_options(plan.rng, said[0], said[1:])

    def ask(shown: Sequence[Shown]) -> Question:
        at = shown[place_of(scene, shown)]
        stem = f"what changes between {format_clock(int(at.start))} and {format_clock(int(at.end) - 1)}?"
        told = (
            evidence.of_arrival(at.start, pair[:1])
            if comes
            else evidence.of_motion(scene, pair[0], at.start, at.end)
        )
        return Question("changed", stem, options, right, told, (place_of(scene, shown),), about=pair)

    return ask


def _speed(plan: Plan) -> Asker | None:
    """In which of four scenes a thing moves fastest.

    Things that move go about equally far in every scene (`compose.TRAVEL`), so the fastest is nearly always
    in the shortest scene: the question is about how long each takes.
    """
    scenes: list[Scene] = []
    for _ in range(2 * OPTIONS):
        scene = plan.scene("mover")
        if scene is not None and not any(set(scene.labels) & set(other.labels) for other in scenes):
            scenes.append(scene)
    moving = {id(s): [t for t in s.shapes if t.velocity != (0.0, 0.0)] for s in scenes}
    scenes = [s for s in scenes if len(moving[id(s)]) == 1]
    if not scenes:
        return None
    speeds = {id(s): _speed_of(s, moving[id(s)][0]) for s in scenes}
    fastest = max(scenes, key=lambda s: speeds[id(s)])
    slower = [s for s in scenes if FASTER * speeds[id(s)] <= speeds[id(fastest)]][: OPTIONS - 1]
    if len(slower) < OPTIONS - 1 or sum(s.seconds for s in (fastest, *slower)) > plan.room:
        return None
    [mover] = moving[id(fastest)]
    plan.keep(*[[scene] for scene in (fastest, *slower)])
    options, right = shuffle_options(plan.rng, str(fastest.anchor), [str(s.anchor) for s in slower])
    stem = f"in the scene of which of the signs {', '.join(options)} does a thing move fastest?"

    def ask(shown: Sequence[Shown]) -> Question:
        at = shown[place_of(fastest, shown)]
        told = evidence.of_motion(fastest, mover, at.start, at.end)
        places = tuple(sorted(place_of(scene, shown) for scene in (fastest, *slower)))
        return Question("speed", stem, options, right, told, places, about=(mover,))

    return ask


def _speed_of(scene: Scene, thing: Thing) -> float:
    """Heights of the frame a second, as it is seen: the camera's move is added."""
    (x, y), (across, down) = scene.place(thing, 0.0), scene.place(thing, 1.0)
    return math.hypot((across - x) * ASPECT, down - y)


def _description(plan: Plan) -> Asker | None:
    """Which description of a scene is right: two things, their colours and their places.

    The wrong ones exchange the colours, the places, or both: each says what the others say, in another order.
    No thing has an exchanged colour, so a bag of things leaves two of the four.
    """
    scene = plan.scene("mixed")
    if scene is None:
        return None
    known = [t for t in unmistakable(at_rest(scene)) if not t.is_sign and well_inside(t)]
    names = {thing.name for thing in scene.things}
    pairs = [(a, b) for a, b in permutations(known, 2) if _differ(a, b) and not _exchanged(a, b) & names]
    if not pairs:
        return None
    plan.keep([scene])
    one, other = pairs[int(plan.rng.integers(len(pairs)))]
    colours, places = (one.colour, other.colour), (evidence.where(one), evidence.where(other))
    said = [
        f"{c} {one.shape} {p}, {d} {other.shape} {q}"
        for c, d in (colours, colours[::-1])
        for p, q in (places, places[::-1])
    ]
    options, right = shuffle_options(plan.rng, said[0], said[1:])
    stem = pick(plan.rng, SAYS).format(scene.anchor) + "which description is right?"

    def ask(shown: Sequence[Shown]) -> Question:
        place = place_of(scene, shown)
        told = evidence.at(shown[place].start, "")
        return Question("description", stem, options, right, told, (place,), about=(one, other))

    return ask


def _differ(one: Thing, other: Thing) -> bool:
    """Whether two things have neither shape, colour nor part of the frame in common."""
    return (
        one.shape != other.shape
        and one.colour != other.colour
        and cell_of(one.x, one.y) != cell_of(other.x, other.y)
    )


def _exchanged(one: Thing, other: Thing) -> set[str]:
    """The names of two things that exchanged their colours."""
    return {f"{other.colour} {one.shape}", f"{one.colour} {other.shape}"}


FURTHER_TASKS: dict[str, BusyTask] = {
    "duration": _duration,
    "beside": _beside_late,
    "changed": _changed,
    "speed": _speed,
    "description": _description,
}
EVERY_TASK: dict[str, BusyTask] = {**BUSY_TASKS, **FURTHER_TASKS}
