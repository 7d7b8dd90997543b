"""Needles as pixels: they change the picture where they say, and nowhere else."""

import itertools

import numpy as np
import pytest
from PIL import Image

from bvllm.synthetic.draw import draw_needle
from bvllm.synthetic.needles import Caption, Event, Picture, Sticker
from bvllm.synthetic.vocabulary import COLOURS, CORNERS, DIRECTIONS, ITEMS, LANDMARKS, SHAPES, WORDS
from tests.test_messages import HOUSE

WIDTH, HEIGHT = 160, 120
BARE = Image.new("RGB", (WIDTH, HEIGHT), (90, 100, 110))


def pixels(needle, progress=0.5, bare=BARE):
    return np.asarray(draw_needle(bare, needle, progress)).astype(int)


def changed(needle, progress=0.5):
    """(H, W) where the needle left a mark."""
    return (pixels(needle, progress) != np.asarray(BARE)).any(axis=2)


def centre(mask):
    y, x = mask.nonzero()
    return np.array([x.mean() / WIDTH, y.mean() / HEIGHT])


def shows_colour(picture, colour):
    return (np.abs(picture - COLOURS[colour]).max(axis=-1) <= 2).any()


@pytest.mark.parametrize("corner", CORNERS)
def test_a_sticker_sits_in_its_corner(corner):
    mask = changed(Sticker("star", "red", (corner,), scale=0.3))
    assert np.allclose(centre(mask), CORNERS[corner], atol=0.02)
    side = 0.3 * HEIGHT
    y, x = mask.nonzero()
    assert x.max() - x.min() + 1 == y.max() - y.min() + 1 == side


@pytest.mark.parametrize("shape", SHAPES)
def test_a_sticker_has_its_shape_and_colour(shape):
    blue = pixels(Sticker(shape, "blue", ("middle",)))
    assert shows_colour(blue, "blue")
    others = [pixels(Sticker(other, "blue", ("middle",))) for other in SHAPES if other != shape]
    assert all((blue != other).any() for other in others)


def test_several_copies_are_several_marks():
    corners = ("top left", "bottom right", "top right")
    each = [changed(Sticker("heart", "cyan", (corner,))) for corner in corners]
    together = changed(Sticker("heart", "cyan", corners))
    assert (together == np.logical_or.reduce(each)).all()
    assert together.sum() == sum(one.sum() for one in each)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_moving_sticker_moves_the_right_way(direction):
    needle = Sticker("circle", "yellow", ("middle",), direction=direction)
    path = [centre(changed(needle, progress)) for progress in (0.1, 0.5, 0.9)]
    way = np.array(DIRECTIONS[direction])
    for before, after in itertools.pairwise(path):
        step = after - before
        assert step @ way > 0.1
        assert abs(step @ way[::-1]) < 0.02


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_one_frame_of_a_moving_sticker_shows_where_it_came_from(direction):
    still = Sticker("circle", "yellow", ("middle",))
    moving = Sticker("circle", "yellow", ("middle",), direction=direction)
    trail = changed(moving) & ~changed(still)
    assert trail.sum() > 0.3 * changed(still).sum()
    assert (centre(trail) - centre(changed(still))) @ np.array(DIRECTIONS[direction]) < -0.1


@pytest.mark.parametrize("height", [0.2, 0.8])
def test_a_caption_is_a_band_at_its_height(height):
    needle = Caption("river", "orange", height)
    mask = changed(needle)
    y, _ = mask.nonzero()
    assert abs(y.mean() / HEIGHT - height) < 0.02
    assert np.ptp(y) / HEIGHT < 0.35
    assert shows_colour(pixels(needle), "orange")


def test_every_word_is_legible_as_itself():
    drawn = {pixels(Caption(word, "white")).tobytes() for word in WORDS}
    assert len(drawn) == len(WORDS)


def test_a_word_too_wide_is_written_smaller():
    narrow = Image.new("RGB", (64, 64))
    picture = np.asarray(draw_needle(narrow, Caption("lantern", "white"))).astype(int)
    ink = (np.abs(picture - COLOURS["white"]).max(axis=-1) <= 2)[40:60].any(axis=0)
    assert ink[6:58].any()
    assert not ink[:2].any()
    assert not ink[-2:].any()


def test_an_inserted_picture_replaces_the_frame():
    other = Image.new("RGB", BARE.size, (250, 5, 5))
    needle = Picture("boat", "green")
    assert (pixels(needle) == pixels(needle, bare=other)).all()


def test_every_subject_is_drawn_differently():
    drawn = {pixels(Picture(subject, "green")).tobytes() for subject in ITEMS + LANDMARKS}
    assert len(drawn) == len(ITEMS + LANDMARKS)


@pytest.mark.parametrize(
    "needle", [Sticker("moon", "red", ("middle",), "up"), Caption("zebra", "red"), Picture("key", "white")]
)
def test_drawing_repeats_itself_and_leaves_the_frame_alone(needle):
    before = BARE.tobytes()
    assert (pixels(needle) == pixels(needle)).all()
    assert BARE.tobytes() == before


@pytest.mark.parametrize("needle", [Sticker("blob", "red", ("middle",)), Picture("cat", "red")])
def test_what_has_no_drawing_is_refused(needle):
    with pytest.raises(ValueError, match=HOUSE.pattern):
        draw_needle(BARE, needle)


def test_an_event_shows_from_its_start_up_to_its_end():
    event = Event(Caption("zebra", "red"), 3.0, 2.0)
    assert [event.shows(t) for t in (2.9, 3.0, 4.9, 5.0)] == [False, True, True, False]
    assert event.end == 5.0
