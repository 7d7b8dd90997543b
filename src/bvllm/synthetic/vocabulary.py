"""List everything that can be put into a haystack, and which combinations belong to which split.

A needle combines two attributes (shape and colour, word and ink, picture and backdrop). A combination
belongs to exactly one split, so a model that answers on `test` has seen every attribute but never
that pair of them.
"""

from typing import Literal

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")

COLOURS = {
    "red": (226, 32, 38),
    "green": (36, 176, 62),
    "blue": (60, 110, 255),
    "yellow": (250, 222, 30),
    "purple": (186, 70, 236),
    "orange": (255, 134, 16),
    "cyan": (30, 214, 222),
    "white": (245, 245, 245),
}
SHAPES = ("circle", "square", "triangle", "star", "heart", "cross", "diamond", "moon")
WORDS = (
    "river", "candle", "window", "garden", "silver", "thunder", "pocket", "island",
    "magnet", "velvet", "harbor", "pepper", "rocket", "violin", "anchor", "meadow",
    "copper", "lantern", "monkey", "saddle", "ticket", "walnut", "zebra", "quartz",
)  # fmt: skip
ITEMS = ("apple", "house", "tree", "fish", "car", "cup", "key", "boat", "flower", "umbrella", "clock", "bird")
LANDMARKS = ("mountain", "beach", "city", "forest", "desert", "bridge", "castle", "lighthouse")
CORNERS = {
    "top left": (0.2, 0.24),
    "top right": (0.8, 0.24),
    "bottom left": (0.2, 0.76),
    "bottom right": (0.8, 0.76),
    "middle": (0.5, 0.5),
}
DIRECTIONS = {"left": (-1.0, 0.0), "right": (1.0, 0.0), "up": (0.0, -1.0), "down": (0.0, 1.0)}

_TEST, _VAL = (0, 3), (5,)


def split_of(first: int, second: int) -> Split:
    """The split that owns the combination of attribute number `first` with attribute number `second`.

    A Latin square over the eight colours: every shape, word or picture meets five colours in
    `train`, one in `val` and two in `test`.
    """
    step = (second - first) % len(COLOURS)
    return "test" if step in _TEST else "val" if step in _VAL else "train"


def colours_for(first: int, split: Split) -> list[str]:
    """Colours that attribute number `first` may take in `split`."""
    return [name for k, name in enumerate(COLOURS) if split_of(first, k) == split]
