"""Draw a busy scene over a picture."""

from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw

from bvllm.synthetic.busy.things import SIGN_WIDTH, Scene, Thing
from bvllm.synthetic.draw import CARD, EDGE, draw_shape, font_of
from bvllm.synthetic.vocabulary import COLOURS

FINE = 4  # times too large, then shrunk
RIM = 1.28  # of the dark rim around a shape


def draw_scene_over(frame: Image.Image, scene: Scene, age: float) -> Image.Image:
    """The frame with a scene in it, so many seconds after the scene began; the frame itself is left alone."""
    out = frame.copy()
    width, height = out.size
    for thing in scene.seen(age):
        x, y = scene.place(thing, age)
        piece = (
            _sign(thing, height)
            if thing.is_sign
            else _piece(thing.shape, thing.colour, thing.texture, _side(thing, height))
        )
        out.paste(piece, (round(x * width - piece.width / 2), round(y * height - piece.height / 2)), piece)
    return out


def _side(thing: Thing, height: int) -> int:
    return max(6, round(2 * thing.size * height))


@lru_cache(maxsize=4096)
def _piece(shape: str, colour: str, texture: str, side: int) -> Image.Image:
    """A shape with a dark rim, see-through around it."""
    big = side * FINE
    piece = Image.new("RGBA", (big, big), (0, 0, 0, 0))
    pen, r = ImageDraw.Draw(piece), big * 0.4
    for x, y in _ring(big * 0.06):
        draw_shape(pen, shape, CARD, big / 2 + x, big / 2 + y, r * (RIM - 0.2))
    draw_shape(pen, shape, COLOURS[colour], big / 2, big / 2, r)
    if texture != "plain":
        piece = _textured(piece, texture, COLOURS[colour])
    return piece.resize((side, side), Image.Resampling.BOX)


def _ring(step: float) -> list[tuple[float, float]]:
    return [(step * x, step * y) for x in (-1, 0, 1) for y in (-1, 0, 1)]


def _textured(piece: Image.Image, texture: str, colour: tuple[int, int, int]) -> Image.Image:
    """Darker stripes or dots where the shape's own colour is."""
    pixels = np.array(piece)
    side = len(pixels)
    y, x = np.mgrid[:side, :side]
    step = max(4, side // 4)
    if texture == "striped":
        dark = (x + y) // (step // 2) % 2 == 0
    else:
        dark = ((x % step - step / 2) ** 2 + (y % step - step / 2) ** 2) < (step / 4) ** 2
    own = (pixels[..., :3] == np.array(colour)).all(axis=-1)
    pixels[own & dark, :3] = (np.array(colour) * 0.66).astype(np.uint8)
    return Image.fromarray(pixels)


def _sign(thing: Thing, height: int) -> Image.Image:
    return _board(str(thing.label), thing.colour, max(8, round(2 * thing.size * height)))


@lru_cache(maxsize=4096)
def _board(label: str, colour: str, tall: int) -> Image.Image:
    """A dark board with a light edge and capitals as large as fit."""
    wide = round(tall * SIGN_WIDTH)
    board = Image.new("RGBA", (wide * 2, tall * 2), (*CARD, 255))
    pen = ImageDraw.Draw(board)
    pen.rectangle((0, 0, wide * 2 - 1, tall * 2 - 1), outline=(*EDGE, 255), width=2)
    text = label.upper()
    font = font_of(max(8, round(1.5 * tall)))
    left, top, right, bottom = font.getbbox(text)
    if right - left > 1.86 * wide:
        font = font_of(max(8, int(1.5 * tall * 1.86 * wide / (right - left))))
        left, top, right, bottom = font.getbbox(text)
    pen.text((wide - (left + right) / 2, tall - (top + bottom) / 2), text, font=font, fill=COLOURS[colour])
    return board.resize((wide, tall), Image.Resampling.BOX)
