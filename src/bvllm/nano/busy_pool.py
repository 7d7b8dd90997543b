"""Draw the pool of busy scenes: frames from which busy training clips of any length are put together."""

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bvllm.common.processes import processes
from bvllm.nano.frame_dataset import FRAME_SIZE, compress, resize_frame
from bvllm.synthetic.busy.compose import compose, random_kind, random_label
from bvllm.synthetic.busy.draw import draw_scene_over
from bvllm.synthetic.busy.tasks import LABELLED_KIND
from bvllm.synthetic.busy.things import LABELS, SIGN, SMALL, Scene
from bvllm.synthetic.haystack import draw_scene
from bvllm.synthetic.vocabulary import COLOURS, SHAPES

LABELLED = 0.8  # share of the scenes that have a sign
COVERED = 0.12  # of a patch that a thing covers at least to be what the patch shows
SHAPE_NAMES, COLOUR_NAMES = (*SHAPES, SIGN), tuple(COLOURS)
TRIES = 30  # scenes of the pool that are looked at for one that fits


@dataclass(frozen=True)
class PatchLabels:
    """What every patch of every frame shows, as numbers from 1; 0 is nothing.

    Shapes: shape, colour, label, small (n, N) uint8; offset (n, N, 2) float16, from the patch's centre to the
        thing's, in patches.
    """

    shape: Tensor
    colour: Tensor
    label: Tensor
    small: Tensor
    offset: Tensor


@dataclass(frozen=True)
class BusyPool:
    """Scenes of the busy world, a frame for each second of each.

    Attributes:
        pixels: (n, 3, S, S) uint8.
        scenes: what they show.
        first: (scenes,) row of each scene's first frame.
    """

    pixels: Tensor
    scenes: tuple[Scene, ...]
    first: NDArray[np.int64]
    by_kind: dict[str, list[int]] = field(default_factory=dict)
    by_label: dict[str, list[int]] = field(default_factory=dict)
    numbers: dict[int, int] = field(default_factory=dict)  # by the identity of a scene: scenes are unhashable

    def __post_init__(self) -> None:
        for number, scene in enumerate(self.scenes):
            self.numbers[id(scene)] = number
            if scene.anchor is not None:
                self.by_kind.setdefault(scene.kind, []).append(number)
                self.by_label.setdefault(scene.anchor, []).append(number)

    def __len__(self) -> int:
        return len(self.pixels)

    def rows_of(self, scene: Scene) -> NDArray[np.int64]:
        """The rows of a scene's frames, in order."""
        number = self.numbers[id(scene)]
        return np.arange(self.first[number], self.first[number] + scene.seconds)

    def source(self, rng: np.random.Generator) -> Callable[[str, str | None, frozenset[str]], Scene]:
        """Scenes of the pool for `plan_busy`: any that fits, its label mostly another than the wanted one."""

        def scene(kind: str, label: str | None, without: frozenset[str]) -> Scene:
            strict = kind == LABELLED_KIND
            numbers = self.by_label.get(str(label), []) if strict else self.by_kind.get(kind, [])
            found = self.scenes[int(rng.integers(len(self.scenes)))]
            for _ in range(TRIES):
                if numbers and label is not None:
                    found = self.scenes[numbers[int(rng.integers(len(numbers)))]]
                else:
                    found = self.scenes[int(rng.integers(len(self.scenes)))]
                other = set(found.labels) - {label} if strict else set(found.labels)
                if not other & without:
                    return found
            return found

        return scene

    def patch_labels(self, grid: int) -> PatchLabels:
        """What every patch of every frame shows: the thing that covers the most of it."""
        count, cells = len(self.pixels), grid * grid
        fields = {name: np.zeros((count, cells), np.uint8) for name in ("shape", "colour", "label", "small")}
        offset = np.zeros((count, cells, 2), np.float16)
        for number, scene in enumerate(self.scenes):
            for age in range(scene.seconds):
                row = int(self.first[number]) + age
                best = np.full(cells, COVERED)
                for thing in scene.seen(age):
                    x, y = scene.place(thing, age)
                    half = thing.half()
                    share = covered(x, y, half, grid)
                    # What lies over others is drawn later: it wins where both cover a patch alike.
                    wins = np.flatnonzero(share >= best)
                    best[wins] = share[wins]
                    fields["shape"][row, wins] = 1 + SHAPE_NAMES.index(thing.shape)
                    fields["colour"][row, wins] = 1 + COLOUR_NAMES.index(thing.colour)
                    fields["label"][row, wins] = 0 if thing.label is None else 1 + LABELS.index(thing.label)
                    fields["small"][row, wins] = 1 + (thing.size < SMALL)
                    offset[row, wins, 0] = x * grid - (wins % grid + 0.5)
                    offset[row, wins, 1] = y * grid - (wins // grid + 0.5)
        shape, colour, label, small = (torch.from_numpy(values) for values in fields.values())
        return PatchLabels(shape, colour, label, small, torch.from_numpy(offset))

    def frame_labels(self) -> tuple[Tensor, Tensor]:
        """What every frame holds anywhere: labels of signs (n, LABELS), and shapes by colour (n, S * C)."""
        labels = torch.zeros(len(self.pixels), len(LABELS))
        names = torch.zeros(len(self.pixels), len(SHAPES) * len(COLOUR_NAMES))
        for number, scene in enumerate(self.scenes):
            for age in range(scene.seconds):
                row = int(self.first[number]) + age
                for thing in scene.seen(age):
                    if thing.label is not None:
                        labels[row, LABELS.index(thing.label)] = 1
                    else:
                        place = SHAPES.index(thing.shape) * len(COLOUR_NAMES) + COLOUR_NAMES.index(
                            thing.colour
                        )
                        names[row, place] = 1
        return labels, names


def covered(x: float, y: float, half: tuple[float, float], grid: int) -> NDArray[np.float64]:
    """(grid * grid,) the share of each patch that a box around (x, y) covers; all as shares of the frame.

    Example:
        >>> covered(0.25, 0.25, (0.25, 0.25), 2).tolist()
        [1.0, 0.0, 0.0, 0.0]
    """
    edges = np.arange(grid + 1) / grid
    across = np.clip(np.minimum(edges[1:], x + half[0]) - np.maximum(edges[:-1], x - half[0]), 0, None)
    down = np.clip(np.minimum(edges[1:], y + half[1]) - np.maximum(edges[:-1], y - half[1]), 0, None)
    share: NDArray[np.float64] = (down[:, None] * across[None] * grid * grid).reshape(-1)
    return share


def pooled_scene(rng: np.random.Generator) -> Scene:
    """A scene of any kind, as the pool holds them, not drawn yet."""
    label = random_label(rng) if rng.random() < LABELLED else None
    others = [other for other in (random_label(rng, {label or ""}) for _ in range(3)) if other is not None]
    return compose(rng, random_kind(rng), label, others)


_Drawn = tuple[NDArray[np.uint8], list[Scene]]


def draw_busy_pool(
    scenes: int,
    *,
    seed: int,
    image_size: int,
    workers: int = 2,
    tell: Callable[[str, int, int | None], None] | None = None,
) -> BusyPool:
    """Draw so many scenes, each over footage of its own.

    Args:
        scenes: how many.
        seed: decides everything.
        image_size: side of the square that the tower sees.
        workers: processes that draw; one draws in this process.
        tell: called with (what, scenes drawn, all scenes).
    """
    chunks = np.array_split(np.arange(scenes), max(1, scenes // 40))
    jobs = [(chunk.tolist(), seed, image_size) for chunk in chunks]
    parts: list[_Drawn] = []
    with ExitStack() as stack:
        drawn: Iterable[_Drawn]
        drawn = map(_draw, jobs) if workers == 1 else stack.enter_context(processes(workers)).map(_draw, jobs)
        for chunk, part in zip(chunks, drawn, strict=True):
            parts.append(part)
            if tell is not None:
                tell("drawing busy scenes", int(chunk[-1]) + 1, scenes)
    all_scenes = tuple(scene for _, some in parts for scene in some)
    lengths = np.array([scene.seconds for scene in all_scenes])
    pixels = torch.from_numpy(np.concatenate([pixels for pixels, _ in parts]))
    return BusyPool(pixels, all_scenes, lengths.cumsum() - lengths)


def _draw(job: tuple[list[int], int, int]) -> _Drawn:
    numbers, seed, image_size = job
    pixels, scenes = [], []
    for number in numbers:
        rng = np.random.default_rng((seed, 43, number))
        scene = pooled_scene(rng)
        behind = draw_scene(seed + 1, number, FRAME_SIZE)
        for age in range(scene.seconds):
            frame = draw_scene_over(behind.frame(float(age)), scene, age)
            pixels.append(resize_frame(compress(rng, frame), image_size))
        scenes.append(scene)
    return np.stack(pixels), scenes
