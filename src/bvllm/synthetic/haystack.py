"""Draw haystacks: long, busy, meaningless footage that any frame can be asked of at random.

A haystack is cut into scenes. A scene is one large texture over which a camera pans and zooms, with a few
sprites that wander about. Scenes are drawn on demand from the seed, so an hour takes no more memory
than a minute, and frame k of scene s is the same in every process.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Size = tuple[int, int]
Floats = NDArray[np.float64]
OVERSIZE = 1.5  # a texture is this much larger than the frame, so that the camera has room to move


class Haystack(Protocol):
    """Anything that shows a picture at any time."""

    def frame(self, time: float) -> Image.Image: ...


@dataclass(frozen=True)
class DrawnHaystack:
    """Procedural footage of any length.

    Attributes:
        seed: decides everything.
        size: (width, height) in pixels.
        scene_seconds: shortest and longest scene, about: scenes are scaled to fill their block.
    """

    seed: int
    size: Size = (320, 240)
    scene_seconds: tuple[float, float] = (3.0, 14.0)

    def frame(self, time: float) -> Image.Image:
        scene, age = self._scene_at(time)
        return draw_scene(self.seed, scene, self.size).frame(age)

    def _scene_at(self, time: float) -> tuple[int, float]:
        """Which scene runs at `time`, and for how long it has: blocks of 16 scenes have a fixed length."""
        low, high = self.scene_seconds
        block_seconds = 8 * (low + high)
        block = int(time // block_seconds)
        share = np.random.default_rng((self.seed, 7, block)).uniform(low, high, 16)
        ends = np.cumsum(share) * block_seconds / share.sum()
        within = time - block * block_seconds
        scene = min(int(np.searchsorted(ends, within, side="right")), 15)
        return block * 16 + scene, within - (ends[scene - 1] if scene else 0.0)


@dataclass(frozen=True, eq=False)
class Scene:
    """One texture, one camera path, some sprites."""

    texture: Image.Image
    size: Size
    start: Floats  # (3,) x, y in 0..1 of the spare room, zoom
    drift: Floats  # (3,) change of each per second
    sprites: Floats  # (n, 9) x, y, radius, dx, dy, r, g, b, roundness

    def frame(self, age: float) -> Image.Image:
        """The picture `age` seconds after the cut."""
        x, y, zoom = self.start + self.drift * age
        x, y = _bounce(x), _bounce(y)
        zoom = 1.0 + 0.35 * _bounce(zoom)
        width, height = self.texture.width / OVERSIZE / zoom, self.texture.height / OVERSIZE / zoom
        left, top = x * (self.texture.width - width), y * (self.texture.height - height)
        sample = (width / self.size[0], 0.0, left, 0.0, height / self.size[1], top)
        frame = self.texture.transform(self.size, Image.Transform.AFFINE, sample, Image.Resampling.BILINEAR)
        if len(self.sprites):
            self._draw_sprites(frame, age)
        return frame

    def _draw_sprites(self, frame: Image.Image, age: float) -> None:
        pen = ImageDraw.Draw(frame)
        width, height = self.size
        for x, y, r, dx, dy, red, green, blue, roundness in self.sprites:
            cx, cy, side = _bounce(x + dx * age) * width, _bounce(y + dy * age) * height, r * height
            box = (cx - side, cy - side * 0.8, cx + side, cy + side * 0.8)
            fill = (int(red), int(green), int(blue))
            if roundness > 0.5:
                pen.ellipse(box, fill=fill)
            else:
                left, top, right, bottom = box
                top_side = [(cx, top)] if roundness < 0.25 else [(left, top), (right, top)]
                pen.polygon([*top_side, (right, bottom), (left, bottom)], fill=fill)


@lru_cache(maxsize=8)
def draw_scene(seed: int, number: int, size: Size) -> Scene:
    """Scene `number` of a haystack."""
    rng = np.random.default_rng((seed, 11, number))
    big = (round(size[0] * OVERSIZE), round(size[1] * OVERSIZE))
    texture = _TEXTURES[int(rng.integers(len(_TEXTURES)))](rng, big)
    if rng.random() < 0.35:
        other = _TEXTURES[int(rng.integers(len(_TEXTURES)))](rng, big)
        texture = np.where(_soft_mask(rng, big), texture, other)
    texture = _grade(rng, texture)
    count = int(rng.integers(0, 7)) if rng.random() < 0.7 else 0
    sprites = np.column_stack([
        rng.random((count, 2)), rng.uniform(0.02, 0.16, (count, 1)), rng.normal(0, 0.12, (count, 2)),
        rng.uniform(0, 255, (count, 3)), rng.random((count, 1)),
    ])  # fmt: skip
    still = rng.random() < 0.35  # a fixed camera, as much footage has
    drift = np.zeros(3) if still else rng.normal(0, [0.06, 0.06, 0.05])
    image = Image.fromarray(texture.clip(0, 255).astype(np.uint8))
    return Scene(image, size, rng.random(3), drift, sprites)


def _bounce(x: float) -> float:
    """Fold any number into 0..1, going back and forth."""
    return 1.0 - abs(1.0 - x % 2.0)


def _colour(rng: np.random.Generator) -> Floats:
    """A colour, mostly muted as in footage, now and then loud."""
    grey = rng.uniform(10, 245)
    return np.clip(grey + rng.normal(0, 70 if rng.random() < 0.3 else 24, 3), 0, 255)


def _cloudy(rng: np.random.Generator, size: Size, slope: float) -> Floats:
    """(H, W, 3) noise in -1..1 whose amplitude falls with frequency as in natural pictures (1/f)."""
    width, height = size
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]) + 1.0 / width
    spectrum = rng.normal(size=(2, 3, height, frequency.shape[1])) / frequency**slope
    noise = np.fft.irfft2(spectrum[0] + 1j * spectrum[1], s=(height, width))
    noise[1:] = 0.75 * noise[:1] + 0.25 * noise[1:]  # colours of a scene mostly move together
    noise /= 2.5 * noise.std(axis=(1, 2), keepdims=True) + 1e-9
    return noise.transpose(1, 2, 0)


def _soft_mask(rng: np.random.Generator, size: Size) -> NDArray[np.bool_]:
    return _cloudy(rng, size, 2.0)[..., :1] > rng.uniform(-0.4, 0.4)


def _grade(rng: np.random.Generator, texture: Floats) -> Floats:
    """Exposure, contrast and a vignette."""
    height, width = texture.shape[:2]
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    shade: Floats = 1.0 - rng.uniform(0, 0.4) * (x**2 + y**2)[..., None] / 2
    return ((texture - 128) * rng.uniform(0.55, 1.15) + 128 + rng.uniform(-45, 45)) * shade


def _clouds(rng: np.random.Generator, size: Size) -> Floats:
    return _colour(rng) + 90 * _cloudy(rng, size, rng.uniform(0.9, 1.8))


def _leaves(rng: np.random.Generator, size: Size) -> Floats:
    """Overlapping discs and boxes of all sizes ("dead leaves"), each with a little texture."""
    image = Image.new("RGB", size, tuple(int(c) for c in _colour(rng)))
    pen = ImageDraw.Draw(image)
    palette = [_colour(rng) for _ in range(int(rng.integers(3, 9)))]
    for _ in range(int(rng.integers(60, 260))):
        r = 4.0 / max(rng.random(), 0.03)
        x, y = rng.uniform(0, size[0]), rng.uniform(0, size[1])
        fill = tuple(
            int(c) for c in np.clip(palette[int(rng.integers(len(palette)))] + rng.normal(0, 14, 3), 0, 255)
        )
        box = (x - r, y - r * rng.uniform(0.4, 1), x + r, y + r * rng.uniform(0.4, 1))
        (pen.ellipse if rng.random() < 0.6 else pen.rectangle)(box, fill=fill)
    return np.asarray(image, dtype=np.float32) + 14 * _cloudy(rng, size, 1.0)


def _stripes(rng: np.random.Generator, size: Size) -> Floats:
    y, x = np.mgrid[: size[1], : size[0]]
    angle, period = rng.uniform(0, np.pi), rng.uniform(9, 90)
    wave = np.sin((x * np.cos(angle) + y * np.sin(angle)) * 2 * np.pi / period)
    mix: Floats | NDArray[np.bool_] = (
        (wave > rng.uniform(-0.7, 0.7))[..., None] if rng.random() < 0.5 else (wave[..., None] + 1) / 2
    )
    return _colour(rng) * mix + _colour(rng) * (1 - mix) + 20 * _cloudy(rng, size, 1.2)


def _blocks(rng: np.random.Generator, size: Size) -> Floats:
    """A street or a shelf: upright boxes, with windows in some."""
    image = Image.new("RGB", size, tuple(int(c) for c in _colour(rng)))
    pen, x = ImageDraw.Draw(image), 0.0
    while x < size[0]:
        width, top = rng.uniform(14, 90), rng.uniform(0.05, 0.8) * size[1]
        fill, pane = (tuple(int(c) for c in _colour(rng)) for _ in range(2))
        pen.rectangle((x, top, x + width, size[1]), fill=fill)
        step = rng.uniform(9, 26)
        if rng.random() < 0.6:
            for wy in np.arange(top + 5, size[1], step):
                for wx in np.arange(x + 4, x + width - 5, step):
                    pen.rectangle((wx, wy, wx + step * 0.5, wy + step * 0.55), fill=pane)
        x += width + rng.uniform(0, 14)
    return np.asarray(image, dtype=np.float32) + 12 * _cloudy(rng, size, 1.0)


def _horizon(rng: np.random.Generator, size: Size) -> Floats:
    """Sky above, ground below, hills between."""
    height = size[1]
    y = np.linspace(0, 1, height)[:, None, None]
    sky = _colour(rng) * (1 - y) + _colour(rng) * y + 36 * _cloudy(rng, size, 1.6)
    ground = _colour(rng) + 70 * _cloudy(rng, size, rng.uniform(0.7, 1.2))
    ridge = rng.uniform(0.3, 0.7) + 0.1 * _cloudy(rng, size, 1.6)[height // 2, :, 0]
    above = y[..., 0] < ridge[None, :]
    return np.where(above[..., None], sky, ground)


_TEXTURES: tuple[Callable[[np.random.Generator, Size], Floats], ...] = (
    _clouds, _leaves, _leaves, _stripes, _blocks, _horizon, _horizon,
)  # fmt: skip
