"""Ask about one busy scene: what is where, of which colour, how many, and what stands beside what."""

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from bvllm.synthetic.busy import evidence
from bvllm.synthetic.busy.things import ASPECT, LABELS, Scene, Thing, cell_of
from bvllm.synthetic.draft import OPTIONS, Question, shuffle_options
from bvllm.synthetic.sampling import pick
from bvllm.synthetic.vocabulary import COLOURS, SHAPES

SIDES = {"left of": (-1, 0), "right of": (1, 0), "above": (0, -1), "below": (0, 1)}
NEAREST = 1.2  # the second nearest is at least so many times as far
# How often a number is tried: 97, 94, 77 and 50 % of 3 000 scenes have a colour, or a shape, so many times.
COUNTED = (0.19, 0.20, 0.24, 0.37)
MOST_COUNTED = 3  # as many numbers as there are options: the options alone never tell which is right


def ask_scene(rng: np.random.Generator, scene: Scene, task: str) -> Question | None:
    """One spatial question about a scene without naming it: for single frames."""
    found = SPATIAL[task][1](rng, scene)
    if found is None:
        return None
    stem, answer, wrong, about = found
    if len(dict.fromkeys(w for w in wrong if w != answer)) < OPTIONS - 1:
        return None
    options, right = shuffle_options(rng, answer, wrong)
    things = all_named(task, scene, about, options)
    stem = stem.format(", ".join(options))
    return Question(task, stem, options, right, evidence.of_scene(task, things, answer), (0,), about=things)


def all_named(task: str, scene: Scene, about: Sequence[Thing], options: Sequence[str]) -> tuple[Thing, ...]:
    """What a question is about: of a relation, the known thing and all that may stand beside it."""
    return (about[0], *named(scene, options)) if task == "relation" else tuple(about)


def named(scene: Scene, names: Sequence[str]) -> list[Thing]:
    """The things of a scene with these names, in their order; each name is one thing's alone."""
    by_name = {thing.name: thing for thing in scene.things}
    return [by_name[name] for name in names]


# Stem, answer, wrong answers, and the things that the question is about; `{}` in the stem is for the options.
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
    wrong = [near[0], *shuffled(rng, [c for c in COLOURS if c not in (thing.colour, near[0])])]
    return f"which colour is the {thing.size_word} {thing.shape}?", thing.colour, wrong, [thing]


def relation(rng: np.random.Generator, scene: Scene) -> Found | None:
    """Which of some things stands beside another, on a side; no other option stands on that side."""
    things = at_rest(scene)
    for thing in shuffled(rng, unmistakable(things)):
        found = beside(rng, thing, things, f"the {thing.name}")
        if found is not None:
            return found
    return None


def at_rest(scene: Scene) -> list[Thing]:
    """The things of a scene that are there from its start and stay where they are."""
    return [t for t in scene.things if not t.arrives and t.velocity == (0.0, 0.0)]


def beside(rng: np.random.Generator, thing: Thing, things: Sequence[Thing], what: str) -> Found | None:
    """Which of some things stands on a side of this one, whom the question calls `what`."""
    known = unmistakable(things)
    for side in shuffled(rng, list(SIDES)):
        nearest = _nearest(thing, things, SIDES[side])
        if nearest is None or nearest.is_sign or not any(nearest is t for t in known):
            continue
        asked = evidence.side_of(nearest, thing)
        others = [t for t in known if not t.is_sign and t is not thing]
        wrong = shuffled(rng, [t.name for t in others if evidence.side_of(t, thing) != asked])
        if len(wrong) >= OPTIONS - 1:
            return f"which of {{}} is {side} {what}?", nearest.name, wrong, [thing, nearest]
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
    return stem, str(true), shuffled(rng, [str(n) for n in near]), about


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
    wrong += shuffled(rng, pool)[:OPTIONS]
    if rng.random() < 0.5 and sum(t.colour == sign.colour for t in signs) == 1:
        return f"what does the {sign.colour} sign say?", label, wrong, [sign]
    names = Counter(t.name for t in scene.shapes)
    still = at_rest(scene)
    for side in shuffled(rng, list(SIDES)):
        for thing in shuffled(rng, [t for t in still if not t.is_sign and names[t.name] == 1]):
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
            near = shuffled(rng, [t.name for t in things if t is not odd])
            return "which thing is the odd one out?", odd.name, [near[0], *shuffled(rng, wrong)], [odd]
    return None


def region(rng: np.random.Generator, scene: Scene) -> Found | None:
    """What is in one of nine parts of the frame, where there is one thing alone.

    The options are things of one size: what is large is alone more often.
    """
    things = [t for t in at_rest(scene) if not t.is_sign]
    cells = Counter(cell_of(t.x, t.y) for t in things)
    known = unmistakable(things)
    sizes = Counter(t.size_word for t in known)
    alone = [t for t in known if cells[cell_of(t.x, t.y)] == 1 and well_inside(t)]
    alone = [t for t in alone if sizes[t.size_word] >= OPTIONS]
    if not alone:
        return None
    thing = alone[int(rng.integers(len(alone)))]
    wrong = shuffled(rng, [t.name for t in known if t.size_word == thing.size_word and t is not thing])
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


def unmistakable(things: Sequence[Thing]) -> list[Thing]:
    """Those whose name no other has: of a name that two things have, one of them is the answer more often."""
    names = Counter(thing.name for thing in things)
    return [thing for thing in things if names[thing.name] == 1]


def well_inside(thing: Thing) -> bool:
    """Whether its centre is no closer to the border of its ninth than a thirtieth of the frame."""
    return all(min(abs(v - 1 / 3), abs(v - 2 / 3)) > 1 / 30 for v in (thing.x, thing.y))


def _other(size: str) -> str:
    return "large" if size == "small" else "small"


def shuffled(rng: np.random.Generator, values: "Sequence[object]") -> list:  # type: ignore[type-arg]  # of whatever it is given
    return [values[k] for k in rng.permutation(len(values)).tolist()]
