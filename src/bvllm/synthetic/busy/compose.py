"""Compose busy scenes: 4 to 16 things, half of the scenes with more than eight, some made for a question."""

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import replace

import numpy as np

from bvllm.synthetic.busy.things import (
    LABELS,
    SIGN,
    SIGN_SIZE,
    TEXTURES,
    Scene,
    Thing,
)
from bvllm.synthetic.sampling import pick
from bvllm.synthetic.vocabulary import COLOURS, SHAPES

FEWEST, MOST = 4, 16
SHORTEST, LONGEST = 3, 8  # seconds of a scene
APART = 0.85  # of the sum of two radii: things may cover a part of each other
PLACES = 60  # tries to place a thing
PAN = 0.002
# A thing that moves begins or ends somewhere in the middle of the frame, wherever it goes, and stays inside.
# Its way is of so many steps of the lattice, so that it lies on it in its last frame as in its first.
MIDDLE, TRAVEL = (0.32, 0.68), 3 / 16
EDGE = 0.03
FINE = 16  # centres of things lie on sixteenths of the frame, signs on eighths
SIZES = {"small": (0.053, 0.06), "large": (0.095, 0.115)}  # radii of things


def compose(rng: np.random.Generator, kind: str, label: str | None, others: Collection[str]) -> Scene:
    """A scene of a kind.

    Args:
        rng: decides everything.
        kind: a key of `KINDS`.
        label: what its first sign says; None leaves it without signs.
        others: labels that further signs of the scene may carry.
    """
    count = int(rng.integers(FEWEST, 9) if rng.random() < 0.33 else rng.integers(10, MOST + 1))
    seconds = int(rng.integers(SHORTEST, LONGEST + 1))
    signs = [] if label is None else [label]
    if signs and (kind == "signs" or rng.random() < 0.2):
        more = [other for other in others if other != label]
        signs += [str(x) for x in rng.choice(more, min(len(more), int(rng.integers(1, 3))), replace=False)]
    things = _placed(rng, [_sign(rng, text) for text in signs])
    pan = tuple(float(v) for v in rng.uniform(-PAN, PAN, 2)) if rng.random() < 0.4 else (0.0, 0.0)
    wanted = KINDS.get(kind, _mixed)(rng, max(FEWEST + (kind == "arrival"), count) - len(things))
    things = [_on_its_way(thing, seconds) for thing in _placed(rng, wanted, things)]
    return Scene(tuple(things), seconds, kind, (pan[0], pan[1]))


def random_thing(rng: np.random.Generator, **fixed: object) -> Thing:
    """A shape at no place yet; `fixed` attributes are not drawn."""
    small = rng.random() < 0.6
    drawn: dict[str, object] = {
        "shape": pick(rng, SHAPES),
        "colour": pick(rng, list(COLOURS)),
        "size": float(rng.choice(SIZES["small" if small else "large"])),
        "texture": pick(rng, TEXTURES),
    }
    return Thing(x=0.5, y=0.5, **{**drawn, **fixed})  # type: ignore[arg-type]  # names of its fields


def _sign(rng: np.random.Generator, label: str) -> Thing:
    return Thing(SIGN, pick(rng, list(COLOURS)), 0.5, 0.5, SIGN_SIZE, label)


def _placed(rng: np.random.Generator, wanted: list[Thing], there: list[Thing] | None = None) -> list[Thing]:
    """Give every thing a place where it covers others a little at most; what finds none is left out."""
    things = list(there or [])
    # What moves finds its place first, then the largest.
    for thing in sorted(wanted, key=lambda thing: (thing.velocity == (0.0, 0.0), -thing.size)):
        half = thing.half()
        for _ in range(PLACES):
            moves = thing.velocity != (0.0, 0.0)
            x, y = (
                float(rng.uniform(*(MIDDLE if moves else (side + EDGE, 1 - side - EDGE)))) for side in half
            )
            if thing.is_sign:
                x, y = (int(rng.integers(0, 6)) + 1.5) / 8, (int(rng.integers(0, 8)) + 0.5) / 8
            else:
                x, y = round(x * FINE) / FINE, round(y * FINE) / FINE
            if moves:
                x, y = x + _shift(rng, thing.velocity[0]), y + _shift(rng, thing.velocity[1])
            placed = replace(thing, x=x, y=y)
            if all(_apart(placed, other) for other in things):
                things.append(placed)
                break
    return things


def _shift(rng: np.random.Generator, way: float) -> float:
    """How far a thing that moves begins from the middle, across or down.

    Half of the things begin in the middle and half end there. Where it does not move along this axis, it lies
    as those do that move along it: so one frame, if it may be the first or the last, does not tell the way.
    """
    if rng.random() < 0.5:
        return 0.0
    return TRAVEL * (-way if way else float(rng.choice([-1.0, 1.0])))


def _on_its_way(thing: Thing, seconds: int) -> Thing:
    """A thing that moves, with its speed: its way is as long in scenes of any length."""
    if thing.velocity == (0.0, 0.0):
        return thing
    speed = TRAVEL / max(1, seconds - 1)
    return replace(thing, velocity=(thing.velocity[0] * speed, thing.velocity[1] * speed))


def _apart(one: Thing, other: Thing) -> bool:
    (w, h), (v, g) = one.half(), other.half()
    dx, dy = abs(one.x - other.x) / (w + v), abs(one.y - other.y) / (h + g)
    if one.is_sign or other.is_sign:
        return dx > 1.05 or dy > 1.05  # words must be read
    return bool(np.hypot(dx, dy) > APART)


def _mixed(rng: np.random.Generator, count: int) -> list[Thing]:
    """Any things; some share shape or colour with others, so that one attribute does not name a thing."""
    things: list[Thing] = []
    while len(things) < count:
        if things and rng.random() < 0.35:
            model = things[int(rng.integers(len(things)))]
            same = {"shape": model.shape} if rng.random() < 0.5 else {"colour": model.colour}
            things.append(random_thing(rng, **same))
        else:
            things.append(random_thing(rng))
    return things


def _odd(rng: np.random.Generator, count: int) -> list[Thing]:
    """All of one shape but one, or all of one colour but one."""
    shape, colour = pick(rng, SHAPES), pick(rng, list(COLOURS))
    if rng.random() < 0.5:
        things = [random_thing(rng, shape=shape) for _ in range(count - 1)]
        return [*things, random_thing(rng, shape=pick(rng, [s for s in SHAPES if s != shape]))]
    things = [random_thing(rng, colour=colour) for _ in range(count - 1)]
    return [*things, random_thing(rng, colour=pick(rng, [c for c in COLOURS if c != colour]))]


def _one_of_its_name(rng: np.random.Generator, count: int) -> tuple[Thing, list[Thing]]:
    """A thing that no other has the name of, and the others.

    It is drawn among all such: one that is made apart shares its colour and its shape with fewer.
    """
    while True:
        things = _mixed(rng, count)
        names = Counter(thing.name for thing in things)
        alone = [k for k, thing in enumerate(things) if names[thing.name] == 1]
        if alone:
            return things.pop(alone[int(rng.integers(len(alone)))]), things


def _mover(rng: np.random.Generator, count: int) -> list[Thing]:
    """One thing moves, all others stand still; it is the only one of its name."""
    mover, things = _one_of_its_name(rng, count)
    way = [(-1.0, 0.0), (1.0, 0.0), (0.0, -1.0), (0.0, 1.0)][int(rng.integers(4))]
    return [replace(mover, velocity=way), *things]


def _arrival(rng: np.random.Generator, count: int) -> list[Thing]:
    """One thing comes when the others are there already; it is the only one of its name."""
    late, things = _one_of_its_name(rng, count)
    return [replace(late, arrives=float(rng.integers(1, SHORTEST))), *things]


KINDS: dict[str, Callable[[np.random.Generator, int], list[Thing]]] = {
    "mixed": _mixed,
    "signs": _mixed,
    "odd": _odd,
    "mover": _mover,
    "arrival": _arrival,
}


def random_kind(rng: np.random.Generator) -> str:
    """A kind, in the proportions in which questions need them."""
    return str(rng.choice(["mixed", "signs", "odd", "mover", "arrival"], p=[0.45, 0.2, 0.1, 0.15, 0.1]))


def random_label(rng: np.random.Generator, without: Collection[str] = ()) -> str | None:
    """A label that none of `without` is; None where none is left."""
    free = [label for label in LABELS if label not in without]
    return pick(rng, free) if free else None
