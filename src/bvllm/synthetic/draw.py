"""Draw needles as pixels: stickers, captions and inserted pictures, with Pillow."""

import math
from functools import lru_cache

from PIL import Image, ImageDraw, ImageFont

from bvllm.synthetic.needles import Caption, Needle, Picture, Sticker
from bvllm.synthetic.pictures import draw_subject
from bvllm.synthetic.vocabulary import COLOURS, DIRECTIONS, SHAPES

CARD, EDGE = (26, 26, 32), (250, 250, 250)
TRAIL = 3  # ghosts behind a moving sticker: what motion blur shows of its direction


def draw_needle(frame: Image.Image, needle: Needle, progress: float = 0.5) -> Image.Image:
    """The frame with the needle in it; the frame itself is left alone.

    Args:
        frame: RGB picture of any size.
        needle: what to draw.
        progress: 0..1, how much of the needle's time has passed; moves what moves.
    """
    if isinstance(needle, Picture):
        return _draw_picture(frame.size, needle)
    out = frame.copy()
    if isinstance(needle, Caption):
        _draw_caption(out, needle)
    else:
        _draw_sticker(out, needle, progress)
    return out


def _draw_sticker(frame: Image.Image, needle: Sticker, progress: float) -> None:
    width, height = frame.size
    side = max(6, round(needle.scale * height))
    card = _card(needle.shape, needle.colour, side)
    for x, y in needle.centres(progress):
        left, top = round(x * width - side / 2), round(y * height - side / 2)
        if needle.direction:
            dx, dy = DIRECTIONS[needle.direction]
            for ghost in range(TRAIL, 0, -1):
                faint = card.copy()
                faint.putalpha(
                    card.getchannel("A").point(lambda a, g=ghost: a * (TRAIL + 1 - g) // (TRAIL + 3))
                )
                step = round(ghost * 0.3 * side)
                frame.paste(faint, (left - round(dx * step), top - round(dy * step)), faint)
        frame.paste(card, (left, top), card)


@lru_cache(maxsize=512)
def _card(shape: str, colour: str, side: int) -> Image.Image:
    """A shape on a dark card with a light edge, drawn four times too large and shrunk."""
    big = side * 4
    card = Image.new("RGBA", (big, big), (0, 0, 0, 0))
    pen = ImageDraw.Draw(card)
    pen.rounded_rectangle(
        (0, 0, big - 1, big - 1), radius=big // 7, fill=(*CARD, 255), outline=(*EDGE, 255), width=big // 16
    )
    draw_shape(pen, shape, COLOURS[colour], big / 2, big / 2, big * 0.36)
    return card.resize((side, side), Image.Resampling.BOX)


def draw_shape(
    pen: ImageDraw.ImageDraw, shape: str, fill: tuple[int, int, int], x: float, y: float, r: float
) -> None:
    def around(*angles_radii: tuple[float, float]) -> list[tuple[float, float]]:
        return [
            (x + r * k * math.sin(math.radians(a)), y - r * k * math.cos(math.radians(a)))
            for a, k in angles_radii
        ]

    if shape == "circle":
        pen.ellipse((x - r, y - r, x + r, y + r), fill=fill)
    elif shape == "square":
        pen.rectangle((x - 0.85 * r, y - 0.85 * r, x + 0.85 * r, y + 0.85 * r), fill=fill)
    elif shape == "triangle":
        pen.polygon(around((0, 1.05), (125, 1.1), (235, 1.1)), fill=fill)
    elif shape == "star":
        pen.polygon(around(*[(36 * k, 1.15 if k % 2 == 0 else 0.45) for k in range(10)]), fill=fill)
    elif shape == "diamond":
        pen.polygon(around((0, 1.15), (90, 0.7), (180, 1.15), (270, 0.7)), fill=fill)
    elif shape == "cross":
        pen.rectangle((x - r, y - 0.3 * r, x + r, y + 0.3 * r), fill=fill)
        pen.rectangle((x - 0.3 * r, y - r, x + 0.3 * r, y + r), fill=fill)
    elif shape == "heart":
        pen.ellipse((x - r, y - 0.85 * r, x + 0.06 * r, y + 0.2 * r), fill=fill)
        pen.ellipse((x - 0.06 * r, y - 0.85 * r, x + r, y + 0.2 * r), fill=fill)
        pen.polygon([(x - 0.94 * r, y - 0.02 * r), (x + 0.94 * r, y - 0.02 * r), (x, y + r)], fill=fill)
    elif shape == "moon":
        pen.ellipse((x - r, y - r, x + r, y + r), fill=fill)
        pen.ellipse((x - 0.3 * r, y - 0.95 * r, x + 1.15 * r, y + 0.5 * r), fill=CARD)
    else:
        raise ValueError(
            f"shape must be one the world can draw, got {shape!r}: choose from {', '.join(SHAPES)}"
        )


def _draw_caption(frame: Image.Image, needle: Caption) -> None:
    width, height = frame.size
    font = font_of(max(8, round(0.2 * height)))
    text = needle.word.upper()
    left, top, right, bottom = font.getbbox(text)
    if right - left > 0.84 * width:
        font = font_of(max(8, int(0.2 * height * 0.84 * width / (right - left))))
        left, top, right, bottom = font.getbbox(text)
    middle, half = needle.height * height, 0.15 * height
    pen = ImageDraw.Draw(frame)
    pen.rectangle(
        (0.03 * width, middle - half, 0.97 * width, middle + half),
        fill=CARD,
        outline=EDGE,
        width=max(1, height // 80),
    )
    pen.text(
        ((width - right - left) / 2, middle - (top + bottom) / 2), text, font=font, fill=COLOURS[needle.ink]
    )


@lru_cache(maxsize=64)
def font_of(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _draw_picture(size: tuple[int, int], needle: Picture) -> Image.Image:
    """A drawing in a thick light frame, as an inserted card would look."""
    width, height = size
    paper = Image.new("RGB", size, EDGE)
    pen = ImageDraw.Draw(paper)
    edge = round(0.06 * height)
    soft = tuple((c + 255) // 2 if needle.backdrop != "white" else c - 40 for c in COLOURS[needle.backdrop])
    pen.rectangle((edge, edge, width - edge - 1, height - edge - 1), fill=soft)
    draw_subject(pen, needle, (edge, edge, width - edge - 1, height - edge - 1))
    return paper
