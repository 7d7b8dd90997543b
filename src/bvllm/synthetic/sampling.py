"""Draw random needles of one split, and say in words what a frame shows."""

import numpy as np

from bvllm.synthetic.needles import Caption, Needle, Picture, Sticker
from bvllm.synthetic.vocabulary import (
    CORNERS,
    DIRECTIONS,
    ITEMS,
    LANDMARKS,
    SHAPES,
    WORDS,
    Split,
    colours_for,
)

NUMBER_WORDS = {1: "one", 2: "two", 3: "three"}


def pick(rng: np.random.Generator, options: list[str] | tuple[str, ...]) -> str:
    return options[int(rng.integers(len(options)))]


def random_sticker(
    rng: np.random.Generator,
    split: Split,
    *,
    shape: str | None = None,
    colour: str | None = None,
    count: int = 1,
    moving: bool = False,
) -> Sticker:
    """A sticker whose shape and colour belong together in `split`; a fixed `colour` must be one of them."""
    shape = shape or pick(rng, SHAPES)
    colour = colour or pick(rng, colours_for(SHAPES.index(shape), split))
    corners = tuple(str(c) for c in rng.choice(list(CORNERS), size=count, replace=False))
    if moving:
        corners = ("middle",)
    return Sticker(
        shape,
        colour,
        corners,
        direction=pick(rng, list(DIRECTIONS)) if moving else None,
        scale=float(rng.uniform(0.26, 0.36)),
        jitter=(float(rng.uniform(-0.04, 0.04)), float(rng.uniform(-0.04, 0.04))),
    )


def random_caption(rng: np.random.Generator, split: Split, *, word: str | None = None) -> Caption:
    word = word or pick(rng, WORDS)
    return Caption(word, pick(rng, colours_for(WORDS.index(word), split)), float(rng.choice([0.2, 0.5, 0.8])))


def random_picture(
    rng: np.random.Generator, split: Split, *, subject: str | None = None, landmark: bool = False
) -> Picture:
    subject = subject or pick(rng, LANDMARKS if landmark else ITEMS)
    number = (ITEMS + LANDMARKS).index(subject)
    jitter = (float(rng.uniform(-0.12, 0.12)), float(rng.uniform(-0.05, 0.05)))
    return Picture(subject, pick(rng, colours_for(number, split)), jitter, float(rng.uniform(0.8, 1.08)))


def describe(needle: Needle | None) -> str:
    """What one frame shows, in the few words that the tower is warmed up with.

    Example:
        >>> describe(Sticker("star", "red", ("top left",)))
        'one red star top left'
    """
    if needle is None:
        return "nothing"
    if isinstance(needle, Caption):
        return f"word {needle.word}"
    if isinstance(needle, Picture):
        return f"picture {needle.subject}"
    count = NUMBER_WORDS[len(needle.corners)]
    if needle.direction:
        return f"{count} {needle.name} moving {needle.direction}"
    return (
        f"{count} {needle.name} {needle.corners[0]}" if len(needle.corners) == 1 else f"{count} {needle.name}"
    )
