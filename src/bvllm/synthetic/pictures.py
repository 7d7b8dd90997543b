"""Draw the subjects of inserted pictures: twelve items (`insert 1`) and eight landmarks (`insert 2`).

Each is a handful of polygons in a unit square, so it scales to any frame.
"""

import math

from PIL import ImageDraw

from bvllm.synthetic.needles import Picture

Box = tuple[float, float, float, float]
DARK, BROWN, LEAF, STONE, SKIN = (40, 40, 48), (122, 74, 34), (30, 120, 44), (120, 120, 130), (238, 200, 120)


class Pen:
    """Draws in unit coordinates (0..1 in both axes) inside a box of pixels."""

    def __init__(self, pen: ImageDraw.ImageDraw, box: Box) -> None:
        self.pen, self.box = pen, box

    def at(self, x: float, y: float) -> tuple[float, float]:
        left, top, right, bottom = self.box
        return left + x * (right - left), top + y * (bottom - top)

    def poly(self, fill: tuple[int, int, int], *points: tuple[float, float]) -> None:
        self.pen.polygon([self.at(*p) for p in points], fill=fill)

    def rect(self, fill: tuple[int, int, int], x0: float, y0: float, x1: float, y1: float) -> None:
        self.pen.rectangle((*self.at(x0, y0), *self.at(x1, y1)), fill=fill)

    def oval(self, fill: tuple[int, int, int], x: float, y: float, rx: float, ry: float) -> None:
        self.pen.ellipse((*self.at(x - rx, y - ry), *self.at(x + rx, y + ry)), fill=fill)


def draw_subject(pen: ImageDraw.ImageDraw, needle: Picture, box: tuple[int, int, int, int]) -> None:
    """Draw the needle's subject into a box of pixels (left, top, right, bottom).

    Raises:
        ValueError: the subject has no drawing.
    """
    left, top, right, bottom = box
    if needle.subject in _LANDMARKS:
        _LANDMARKS[needle.subject](Pen(pen, box))
        return
    if needle.subject not in _ITEMS:
        raise ValueError(
            f"subject must be an item or a landmark, got {needle.subject!r}: "
            f"choose from {', '.join((*_ITEMS, *_LANDMARKS))}"
        )
    side = 0.82 * (bottom - top) * needle.scale
    x = (left + right) / 2 + needle.jitter[0] * (right - left) - side / 2
    y = (top + bottom) / 2 + needle.jitter[1] * (bottom - top) - side / 2
    _ITEMS[needle.subject](Pen(pen, (x, y, x + side, y + side)))


def _apple(p: Pen) -> None:
    p.oval((200, 26, 40), 0.36, 0.58, 0.28, 0.34)
    p.oval((200, 26, 40), 0.64, 0.58, 0.28, 0.34)
    p.rect(BROWN, 0.47, 0.08, 0.53, 0.32)
    p.oval(LEAF, 0.66, 0.16, 0.15, 0.08)


def _house(p: Pen) -> None:
    p.rect((222, 196, 150), 0.14, 0.46, 0.86, 0.95)
    p.poly((160, 44, 34), (0.04, 0.48), (0.5, 0.06), (0.96, 0.48))
    p.rect(DARK, 0.42, 0.64, 0.58, 0.95)
    p.rect((80, 130, 200), 0.2, 0.56, 0.35, 0.7)


def _tree(p: Pen) -> None:
    p.rect(BROWN, 0.43, 0.6, 0.57, 0.98)
    for y in (0.02, 0.2, 0.4):
        p.poly(LEAF, (0.5, y), (0.5 - 0.2 - y * 0.5, y + 0.32), (0.5 + 0.2 + y * 0.5, y + 0.32))


def _fish(p: Pen) -> None:
    p.oval((255, 150, 30), 0.42, 0.5, 0.36, 0.22)
    p.poly((255, 110, 10), (0.7, 0.5), (0.98, 0.26), (0.98, 0.74))
    p.oval(DARK, 0.22, 0.44, 0.04, 0.04)


def _car(p: Pen) -> None:
    p.rect((30, 60, 160), 0.02, 0.48, 0.98, 0.74)
    p.poly((30, 60, 160), (0.2, 0.5), (0.32, 0.26), (0.7, 0.26), (0.84, 0.5))
    p.rect((190, 220, 240), 0.36, 0.32, 0.66, 0.48)
    for x in (0.24, 0.76):
        p.oval(DARK, x, 0.76, 0.12, 0.12)


def _cup(p: Pen) -> None:
    p.oval((240, 240, 240), 0.78, 0.5, 0.18, 0.2)
    p.oval((150, 150, 160), 0.78, 0.5, 0.1, 0.12)
    p.poly((240, 240, 240), (0.14, 0.24), (0.74, 0.24), (0.66, 0.88), (0.22, 0.88))
    p.oval((90, 50, 24), 0.44, 0.25, 0.3, 0.07)


def _key(p: Pen) -> None:
    p.oval((190, 150, 30), 0.24, 0.5, 0.22, 0.22)
    p.oval(DARK, 0.24, 0.5, 0.1, 0.1)
    p.rect((190, 150, 30), 0.42, 0.45, 0.98, 0.55)
    for x in (0.74, 0.88):
        p.rect((190, 150, 30), x, 0.5, x + 0.07, 0.72)


def _boat(p: Pen) -> None:
    p.poly((130, 60, 30), (0.04, 0.7), (0.96, 0.7), (0.78, 0.94), (0.22, 0.94))
    p.rect(DARK, 0.47, 0.06, 0.51, 0.7)
    p.poly((250, 250, 250), (0.53, 0.08), (0.53, 0.64), (0.92, 0.64))
    p.poly((220, 60, 60), (0.45, 0.18), (0.45, 0.64), (0.14, 0.64))


def _flower(p: Pen) -> None:
    p.rect(LEAF, 0.47, 0.5, 0.53, 0.98)
    for k in range(6):
        a = k * math.pi / 3
        p.oval((230, 80, 160), 0.5 + 0.2 * math.cos(a), 0.34 + 0.2 * math.sin(a), 0.13, 0.13)
    p.oval((250, 220, 40), 0.5, 0.34, 0.11, 0.11)


def _umbrella(p: Pen) -> None:
    p.pen.pieslice((*p.at(0.02, 0.08), *p.at(0.98, 1.0)), 180, 360, fill=(120, 30, 150))
    p.rect(DARK, 0.48, 0.1, 0.52, 0.9)
    p.rect(DARK, 0.38, 0.86, 0.52, 0.92)
    p.poly((250, 210, 60), (0.5, 0.08), (0.36, 0.54), (0.64, 0.54))


def _clock(p: Pen) -> None:
    p.oval(DARK, 0.5, 0.5, 0.46, 0.46)
    p.oval((250, 250, 250), 0.5, 0.5, 0.38, 0.38)
    p.rect(DARK, 0.47, 0.2, 0.53, 0.52)
    p.rect(DARK, 0.48, 0.47, 0.76, 0.53)


def _bird(p: Pen) -> None:
    p.oval((40, 100, 190), 0.5, 0.56, 0.32, 0.2)
    p.oval((40, 100, 190), 0.24, 0.38, 0.14, 0.14)
    p.poly((250, 170, 20), (0.12, 0.34), (0.12, 0.44), (0.0, 0.4))
    p.poly((20, 60, 130), (0.44, 0.56), (0.74, 0.06), (0.72, 0.6))
    p.poly((40, 100, 190), (0.76, 0.5), (1.0, 0.34), (0.98, 0.66))


def _mountain(p: Pen) -> None:
    p.poly((90, 90, 104), (0.0, 1.0), (0.36, 0.22), (0.72, 1.0))
    p.poly((112, 112, 124), (0.42, 1.0), (0.74, 0.36), (1.0, 0.9), (1.0, 1.0))
    p.poly((250, 250, 255), (0.36, 0.22), (0.27, 0.42), (0.36, 0.38), (0.45, 0.42))


def _beach(p: Pen) -> None:
    p.rect((40, 120, 210), 0.0, 0.46, 1.0, 0.72)
    p.rect((240, 214, 140), 0.0, 0.72, 1.0, 1.0)
    p.oval((255, 200, 30), 0.78, 0.2, 0.1, 0.13)
    p.poly((220, 40, 40), (0.12, 0.6), (0.3, 0.4), (0.48, 0.6))
    p.rect(DARK, 0.29, 0.58, 0.31, 0.9)


def _city(p: Pen) -> None:
    tops = (0.5, 0.24, 0.4, 0.14, 0.34, 0.52, 0.28)
    for k, top in enumerate(tops):
        x = k / len(tops)
        p.rect((60, 64, 84) if k % 2 else (84, 88, 110), x, top, x + 1 / len(tops) - 0.012, 1.0)
        for row in range(3):
            p.rect((250, 226, 120), x + 0.04, top + 0.08 + row * 0.15, x + 0.09, top + 0.14 + row * 0.15)


def _forest(p: Pen) -> None:
    p.rect((50, 90, 40), 0.0, 0.86, 1.0, 1.0)
    for k in range(6):
        x = 0.09 + k * 0.165
        p.rect(BROWN, x - 0.015, 0.7, x + 0.015, 0.92)
        p.poly(
            (20, 96, 40) if k % 2 else (34, 124, 52),
            (x, 0.16 + 0.08 * (k % 3)),
            (x - 0.1, 0.76),
            (x + 0.1, 0.76),
        )


def _desert(p: Pen) -> None:
    p.poly((226, 178, 90), (0.0, 0.7), (0.3, 0.52), (0.6, 0.7), (1.0, 0.5), (1.0, 1.0), (0.0, 1.0))
    p.rect((30, 130, 60), 0.66, 0.3, 0.74, 0.86)
    p.rect((30, 130, 60), 0.56, 0.42, 0.61, 0.62)
    p.rect((30, 130, 60), 0.56, 0.57, 0.7, 0.63)
    p.rect((30, 130, 60), 0.79, 0.36, 0.84, 0.54)
    p.rect((30, 130, 60), 0.72, 0.49, 0.84, 0.55)


def _bridge(p: Pen) -> None:
    p.rect((50, 120, 190), 0.0, 0.76, 1.0, 1.0)
    for x in (0.26, 0.74):
        p.rect((190, 50, 40), x - 0.025, 0.16, x + 0.025, 0.94)
        for k in range(1, 5):
            p.poly((190, 50, 40), (x, 0.18), (x - 0.06 * k, 0.62), (x - 0.06 * k + 0.01, 0.62))
            p.poly((190, 50, 40), (x, 0.18), (x + 0.06 * k, 0.62), (x + 0.06 * k + 0.01, 0.62))
    p.rect((190, 50, 40), 0.0, 0.6, 1.0, 0.67)


def _castle(p: Pen) -> None:
    p.rect(STONE, 0.2, 0.46, 0.8, 1.0)
    for x in (0.1, 0.4, 0.7):
        p.rect((140, 140, 150), x, 0.26, x + 0.2, 1.0)
        for k in range(3):
            p.rect((140, 140, 150), x + 0.08 * k, 0.18, x + 0.04 + 0.08 * k, 0.28)
    p.rect(DARK, 0.45, 0.72, 0.55, 1.0)


def _lighthouse(p: Pen) -> None:
    p.rect((40, 110, 180), 0.0, 0.82, 1.0, 1.0)
    for k in range(5):
        p.rect(
            (220, 40, 40) if k % 2 else (250, 250, 250),
            0.44 - 0.012 * k,
            0.26 + 0.12 * k,
            0.56 + 0.012 * k,
            0.39 + 0.12 * k,
        )
    p.rect(DARK, 0.42, 0.14, 0.58, 0.26)
    p.poly((255, 240, 140), (0.58, 0.2), (1.0, 0.06), (1.0, 0.36))
    p.poly((255, 240, 140), (0.42, 0.2), (0.0, 0.06), (0.0, 0.36))


_ITEMS = {
    "apple": _apple, "house": _house, "tree": _tree, "fish": _fish, "car": _car, "cup": _cup,
    "key": _key, "boat": _boat, "flower": _flower, "umbrella": _umbrella, "clock": _clock, "bird": _bird,
}  # fmt: skip
_LANDMARKS = {
    "mountain": _mountain, "beach": _beach, "city": _city, "forest": _forest,
    "desert": _desert, "bridge": _bridge, "castle": _castle, "lighthouse": _lighthouse,
}  # fmt: skip
