"""Draw the pool: single frames of the world, from which training clips of any length are put together.

A clip of the world is a run of haystack frames with needle frames among them. Both are drawn here
once at the tower's size; training then only chooses rows, so an hour of video costs an index.
"""

import io
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from bvllm.common.processes import processes
from bvllm.synthetic.draw import draw_needle
from bvllm.synthetic.haystack import draw_scene
from bvllm.synthetic.needles import Needle
from bvllm.synthetic.sampling import random_caption, random_picture, random_sticker
from bvllm.synthetic.vocabulary import Split

FRAMES_PER_SCENE = 10
SCENE_SECONDS = 14.0
FRAME_SIZE = (320, 240)


@dataclass(frozen=True)
class FrameDataset:
    """Frames of one split and what each shows.

    Attributes:
        pixels: (n, 3, S, S) uint8.
        needles: n needles, None where a frame is bare haystack.
        progress: (n,) how much of the needle's time had passed.
        scene: (n,) number of the scene behind each frame; frames of a scene are neighbours.
    """

    pixels: Tensor
    needles: tuple[Needle | None, ...]
    progress: Tensor
    scene: Tensor

    def __len__(self) -> int:
        return len(self.needles)


_Drawn = tuple[np.ndarray, list[Needle | None], list[float], list[int]]
# benchmarks/equal_dump.py reaches this class of older commits and of this one by its older name.
Pool = FrameDataset


def random_needle(rng: np.random.Generator, split: Split) -> Needle:
    """A needle of any kind, in the proportions in which training needs them."""
    kind = rng.random()
    if kind < 0.36:
        return random_sticker(rng, split)
    if kind < 0.60:
        return random_sticker(rng, split, moving=True)
    if kind < 0.72:
        return random_sticker(rng, split, count=int(rng.integers(2, 4)))
    if kind < 0.86:
        return random_caption(rng, split)
    return random_picture(rng, split, landmark=bool(rng.random() < 0.4))


def draw_pool(
    scenes: int,
    *,
    split: Split,
    seed: int,
    image_size: int,
    workers: int = 2,
    tell: Callable[[str, int, int | None], None] | None = None,
) -> FrameDataset:
    """Draw `scenes` scenes: of every moment, one bare frame and two with a needle.

    Args:
        scenes: how many scenes; each gives 3 x FRAMES_PER_SCENE frames.
        split: whose needles may be drawn.
        seed: decides everything.
        image_size: side of the square that the tower sees.
        workers: processes that draw; one draws in this process.
        tell: called with (what, scenes drawn, all scenes).
    """
    chunks = np.array_split(np.arange(scenes), max(1, scenes // 20))
    jobs = [(chunk.tolist(), split, seed, image_size) for chunk in chunks]
    parts: list[_Drawn] = []
    with ExitStack() as stack:
        drawn: Iterable[_Drawn]
        if workers == 1:
            drawn = map(_draw_scenes, jobs)
        else:
            drawn = stack.enter_context(processes(workers)).map(_draw_scenes, jobs)
        for chunk, part in zip(chunks, drawn, strict=True):
            parts.append(part)
            if tell is not None:
                tell("drawing", int(chunk[-1]) + 1, scenes)
    return FrameDataset(
        torch.from_numpy(np.concatenate([p[0] for p in parts])),
        tuple(needle for p in parts for needle in p[1]),
        torch.tensor([x for p in parts for x in p[2]]),
        torch.tensor([x for p in parts for x in p[3]]),
    )


def _draw_scenes(job: tuple[list[int], Split, int, int]) -> _Drawn:
    numbers, split, seed, image_size = job
    pixels: list[np.ndarray] = []
    needles: list[Needle | None] = []
    progress: list[float] = []
    scenes: list[int] = []
    for number in numbers:
        rng = np.random.default_rng((seed, 13, number))
        scene = draw_scene(seed, number, FRAME_SIZE)
        shown: list[tuple[Image.Image, Needle | None, float]] = []
        for age in np.linspace(0, SCENE_SECONDS, FRAMES_PER_SCENE):
            base = scene.frame(float(age))
            shown.append((base, None, 0.0))
            for _ in range(2):
                needle, share = random_needle(rng, split), float(rng.random())
                shown.append((draw_needle(base, needle, share), needle, share))
        shown.sort(key=lambda entry: entry[1] is not None)  # the bare frames of a scene stay neighbours
        for frame, what, share in shown:
            pixels.append(resize_frame(compress(rng, frame), image_size))
            needles.append(what)
            progress.append(share)
            scenes.append(number)
    return np.stack(pixels), needles, progress, scenes


def resize_frame(frame: Image.Image, side: int) -> np.ndarray:
    """(3, side, side) uint8, resized exactly as the video reader does it."""
    x = torch.from_numpy(np.array(frame)).permute(2, 0, 1)[None]
    return F.interpolate(x, (side, side), mode="bicubic", antialias=True)[0].numpy()


def compress(rng: np.random.Generator, frame: Image.Image) -> Image.Image:
    """What a codec does to a picture, roughly: half of the frames pass through JPEG."""
    if rng.random() < 0.5:
        return frame
    buffer = io.BytesIO()
    frame.save(buffer, "JPEG", quality=int(rng.integers(25, 90)))
    return Image.open(buffer).convert("RGB")
