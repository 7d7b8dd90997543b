"""Cache the features of every frame of the dataset; a training clip of any length is a choice of its rows."""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import chain

import numpy as np
import torch
from torch import Tensor

from bvllm.model import BVLLMModel
from bvllm.nano.busy_examples import BusyExample
from bvllm.nano.busy_pool import BusyPool
from bvllm.nano.examples import Example
from bvllm.nano.frame_dataset import FrameDataset
from bvllm.nano.warmup import normalise
from bvllm.synthetic.needles import Caption, Event, Needle, Sticker

AnyExample = Example | BusyExample
CHUNK = 128  # frames that are encoded together
SHORTEST_RUN, LONGEST_RUN = 2, 15  # frames of one scene in a row


def needle_key(needle: Needle) -> tuple[object, ...]:
    """What two needles must share so that a frame of one may stand for the other."""
    if isinstance(needle, Sticker):
        place = needle.direction or (needle.corners[0] if len(needle.corners) == 1 else "")
        return (needle.shape, needle.colour, len(needle.corners), place)
    return ("word" if isinstance(needle, Caption) else "picture", needle.name)


@dataclass(frozen=True)
class FeatureCache:
    """The features of every frame of a dataset.

    Attributes:
        frames: (n, C) frame features, what pass 1 keeps.
        patches: (n, N, C) patch features in bfloat16, what pass 2 sees.
        busy: scenes of the busy world, whose frames follow those of the pool; None without.
    """

    pool: FrameDataset
    frames: Tensor
    patches: Tensor
    rows: dict[tuple[object, ...], np.ndarray] = field(default_factory=dict)
    scenes: list[np.ndarray] = field(default_factory=list)
    busy: BusyPool | None = None

    @classmethod
    def encode(
        cls,
        pool: FrameDataset,
        model: BVLLMModel,
        *,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        busy: BusyPool | None = None,
        tell: Callable[[str, int, int | None], None] | None = None,
    ) -> "FeatureCache":
        """Run the tower once over every frame of the dataset; `tell` hears (what, frames done, all)."""
        pixels = [pool.pixels] if busy is None else [pool.pixels, busy.pixels]
        return cls.index(pool, *encode_pixels(pixels, model, mean=mean, std=std, tell=tell), busy)

    @classmethod
    def index(
        cls, pool: FrameDataset, frames: Tensor, patches: Tensor, busy: BusyPool | None = None
    ) -> "FeatureCache":
        """A cache of features that exist already."""
        bank = cls(pool, frames, patches, busy=busy)
        rows: dict[tuple[object, ...], list[int]] = {}
        bare: dict[int, list[int]] = {}
        for row, needle in enumerate(pool.needles):
            if needle is None:
                bare.setdefault(int(pool.scene[row]), []).append(row)
            else:
                rows.setdefault(needle_key(needle), []).append(row)
        bank.rows.update({key: np.array(value) for key, value in rows.items()})
        bank.scenes.extend(np.array(value) for value in bare.values())
        return bank

    def seen(self, model: BVLLMModel, rows: Tensor) -> Tensor:
        """What the selector sees of frames: (T,) rows -> (T, C); a frame reader that learns reads them."""
        reader = model.frame_reader
        if reader is None or not next(reader.parameters()).requires_grad:
            return self.frames[rows]
        distinct, places = rows.unique(return_inverse=True)
        return reader(self.patches[distinct].float())[places]

    def can_show(self, example: AnyExample) -> bool:
        """True if the dataset holds every needle of an example."""
        if isinstance(example, BusyExample):
            return True  # its scenes are from here
        return all(needle_key(e.needle) in self.rows for e in example.timeline.events)

    def clip_rows(self, example: AnyExample, rng: np.random.Generator) -> Tensor:
        """The rows that make up an example's video: (T,) row numbers in the dataset."""
        if isinstance(example, BusyExample):
            return self._busy_rows(example)
        rows = self._haystack(example.frames, rng)
        for event in example.timeline.events:
            for t in range(int(event.start), min(int(event.end), example.frames)):
                rows[t] = self._needle_row(event, t, rng)
        return torch.from_numpy(rows)

    def _busy_rows(self, example: BusyExample) -> Tensor:
        assert self.busy is not None  # where else would its scenes be from?
        runs = [
            self.busy.rows_of(shown.scene)[: int(shown.end - shown.start)] for shown in example.timeline.shown
        ]
        return torch.from_numpy(np.concatenate(runs)[: example.frames] + len(self.pool))

    def _haystack(self, length: int, rng: np.random.Generator) -> np.ndarray:
        runs, filled = [], 0
        while filled < length:
            scene = self.scenes[int(rng.integers(len(self.scenes)))]
            count = int(rng.integers(SHORTEST_RUN, LONGEST_RUN + 1))
            place = np.arange(count) + int(rng.integers(len(scene)))
            there_and_back = np.concatenate([scene, scene[::-1]])
            runs.append(there_and_back[place % len(there_and_back)])
            filled += count
        return np.concatenate(runs)[:length]

    def _needle_row(self, event: Event, t: int, rng: np.random.Generator) -> int:
        candidates = self.rows[needle_key(event.needle)]
        if isinstance(event.needle, Sticker) and event.needle.direction:
            wanted = (t - event.start) / event.seconds
            apart = (self.pool.progress[candidates] - wanted).abs().numpy()
            candidates = candidates[np.argsort(apart)[: max(3, len(candidates) // 5)]]
        return int(candidates[int(rng.integers(len(candidates)))])


def encode_pixels(
    pixels: list[Tensor],
    model: BVLLMModel,
    *,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    tell: Callable[[str, int, int | None], None] | None = None,
) -> tuple[Tensor, Tensor]:
    """The features (n, C) of frames (n, 3, S, S) uint8, and their patches (n, N, C) in bfloat16."""
    frames, patches, total = [], [], sum(map(len, pixels))
    with torch.inference_mode():
        for chunk in chain(*(some.split(CHUNK) for some in pixels)):
            seen = normalise(chunk, mean, std)
            frames.append(model.encode_frames(seen).float())
            patches.append(model.encode_patches(seen).bfloat16())
            if tell is not None:
                tell("encoding", min(CHUNK * len(frames), total), total)
    return torch.cat(frames).clone(), torch.cat(patches).clone()


# benchmarks/equal_dump.py reaches this class of older commits and of this one by its older name.
Bank = FeatureCache
