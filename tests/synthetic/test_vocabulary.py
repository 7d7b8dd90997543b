"""Splits: every attribute is in each of them, no combination in two."""

import numpy as np
import pytest

from bvllm.synthetic.needles import Caption, Sticker
from bvllm.synthetic.sampling import random_caption, random_picture, random_sticker
from bvllm.synthetic.vocabulary import (
    COLOURS,
    ITEMS,
    LANDMARKS,
    SHAPES,
    SPLITS,
    WORDS,
    colours_for,
)

KINDS = {"shapes": SHAPES, "words": WORDS, "pictures": ITEMS + LANDMARKS}


@pytest.mark.parametrize("kind", KINDS)
def test_a_combination_belongs_to_exactly_one_split(kind):
    for first in range(len(KINDS[kind])):
        owned = [colour for split in SPLITS for colour in colours_for(first, split)]
        assert sorted(owned) == sorted(COLOURS)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("split", SPLITS)
def test_every_attribute_occurs_in_every_split(kind, split):
    colours = [colours_for(first, split) for first in range(len(KINDS[kind]))]
    assert all(colours)
    assert {colour for some in colours for colour in some} == set(COLOURS)


def test_most_combinations_are_for_training():
    assert [len(colours_for(0, split)) for split in SPLITS] == [5, 1, 2]


def test_a_name_means_one_thing():
    names = [*SHAPES, *WORDS, *ITEMS, *LANDMARKS, *COLOURS]
    assert len(names) == len(set(names))


def combination(needle) -> tuple[int, str]:
    """The attribute's number among its kind, and the colour that it meets."""
    if isinstance(needle, Sticker):
        return SHAPES.index(needle.shape), needle.colour
    if isinstance(needle, Caption):
        return WORDS.index(needle.word), needle.ink
    return (ITEMS + LANDMARKS).index(needle.subject), needle.backdrop


@pytest.mark.parametrize("split", SPLITS)
def test_random_needles_stay_in_their_split(split):
    rng = np.random.default_rng(0)
    for _ in range(60):
        for needle in (
            random_sticker(rng, split),
            random_sticker(rng, split, moving=True),
            random_caption(rng, split),
            random_picture(rng, split),
            random_picture(rng, split, landmark=True),
        ):
            first, colour = combination(needle)
            assert colour in colours_for(first, split)
