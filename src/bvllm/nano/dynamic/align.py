"""Align dynamic-nano's projector: a cell of a frame says what the language model already reads.

The LLM was warmed up on videos told in words: a vector is the sum of a thing's words and of where it is. Here
the projector learns to give just that vector for the cell that holds the thing's centre, at every grid; cells
that hold nothing are told as frames of which nothing is to be said. Tokens of queries have no cells: they are
paired with what the frame holds (`nano.matching`). No LLM runs, so a minute is enough. The
paper aligns compressor and projector on captions through the LLM; that the world knows what is where is ours.
"""

from collections import Counter
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedTokenizerBase

from bvllm.model.dynamic import DynamicVLMForConditionalGeneration
from bvllm.model.visual_parts import Projector
from bvllm.nano.busy_examples import told_thing
from bvllm.nano.examples import Told
from bvllm.nano.feature_cache import FeatureCache
from bvllm.nano.language import Where
from bvllm.nano.loop import Control, StageLoop
from bvllm.nano.matching import pair_frames
from bvllm.nano.tellings import Tellings
from bvllm.stages.frame_grids import Grid
from bvllm.synthetic.busy.things import Scene
from bvllm.synthetic.needles import Caption, Needle, Picture, Sticker
from bvllm.synthetic.sampling import describe

EMPTY_WEIGHT = 0.3  # of the loss on cells that hold nothing, of which there are many
SETTLED = 256  # frames by which the projector's first weights are scaled
NATIVE_SHARE = 0.4  # of the steps, those at the tower's own grid, of 64 grids the one that shows small things
BAND = 0.15  # half the height of a caption's band


class Cells(NamedTuple):
    """What the cells of a frame's grid show.

    Attributes:
        told: for each cell that holds the centre of one thing, what is told of it.
        touched: cells that something lies over, their own or not: nothing is learned where no centre is.
    """

    told: dict[int, Told]
    touched: set[int]


def align_cells(
    model: DynamicVLMForConditionalGeneration,
    tokenizer: PreTrainedTokenizerBase,
    bank: FeatureCache,
    where: Where,
    *,
    steps: int,
    minutes: float,
    frames: int = 128,
    native_share: float = NATIVE_SHARE,
    lr: float = 2e-3,
    seed: int = 0,
    control: Control | None = None,
) -> None:
    """Train the projector, and what adds places, in place.

    Args:
        where: what tells of places, as the LLM was warmed up with it.
        steps, minutes: the most of each.
        frames, native_share: of each step; share of the steps that have the tower's own grid.
    """
    model.requires_grad_(False)
    projector, places_of = model.model.multi_modal_projector, model.model.places
    by_queries = model.config.compressor == "queries"  # a scorer learns from answers alone
    parts = [
        projector,
        *((places_of,) if places_of else ()),
        *((model.model.compressor,) if by_queries else ()),
    ]
    learned = [p for part in parts for p in part.parameters()]
    for parameter in learned:
        parameter.requires_grad_(True)
    loop = StageLoop(
        "projector",
        learned,
        steps=steps,
        minutes=minutes,
        lr=lr,
        warmup=100,
        decay=0.01,
        seed=seed,
        control=control,
    )
    rng, native = np.random.default_rng((loop.seed, 61)), model.config.native_grid
    frames_of = _Frames(bank)
    words = Tellings(model.model.language_model.get_input_embeddings().weight, tokenizer, where)
    if not loop.step:
        some = torch.from_numpy(rng.integers(0, len(bank.frames), SETTLED))
        with torch.no_grad():
            patches = model.model.tell_places(bank.patches[some].float())
        settle(projector, patches.flatten(0, 1), words.variance**0.5)
    for _ in loop:
        rows = rng.integers(0, len(bank.frames), frames)
        grid = Grid(int(rng.integers(1, native.rows + 1)), int(rng.integers(1, native.columns + 1)))
        grid = native if rng.random() < native_share else grid
        made = model.model.compress(bank.patches[torch.from_numpy(rows)].float(), [grid] * frames)
        if by_queries:
            tokens = projector(torch.stack([one.features for one in made]))
            loss = _paired_loss(tokens, [frames_of.cells(int(row), native) for row in rows], words)
            loss.backward()
            loop.descend()
            loop.record(loss=loss.item())
            continue
        places, targets, empty = _targets([frames_of.cells(int(row), grid) for row in rows], grid, words)
        found = projector(torch.stack([one.features for one in made]).flatten(0, 1))
        loss = found.new_zeros(())
        if len(places) > 1:
            shown = F.mse_loss(found[places], targets) / words.variance
            spread = float(targets.var(dim=0).mean())
            if spread:  # none where all tell the same
                loop.record(unexplained=shown.item() * words.variance / spread)
            loss = loss + shown
        if len(empty):
            nothing = words.vectors([Told(describe(None))]).expand(len(empty), -1)
            loss = loss + EMPTY_WEIGHT * F.mse_loss(found[empty], nothing) / words.variance
        if not (len(places) > 1 or len(empty)):
            continue  # few frames, one cell each, and several things in all of them
        loss.backward()
        loop.descend()
        loop.record(loss=loss.item())


@torch.no_grad()
def settle(projector: Projector, features: Tensor, scale: float) -> None:
    """Start from weights that see every channel of the features at one scale, and speak at a given one.

    A tower's channels differ in size by orders; from equal weights a few would drown all others for thousands
    of steps.

    Args:
        projector: new; changed in place.
        features: (n, C) a sample.
        scale: of what comes out, its standard deviation.
    """
    mean, spread = features.mean(dim=0), features.std(dim=0) + 1e-6
    first, last = projector.linear_1, projector.linear_2
    nn.init.xavier_uniform_(first.weight)
    first.weight.div_(spread)
    first.bias.copy_(-first.weight @ mean)
    nn.init.xavier_uniform_(last.weight)
    last.bias.zero_()
    last.weight.mul_(scale / projector(features).std())


def cells_of_scene(scene: Scene, age: float, grid: Grid) -> Cells:
    """The cells of a busy frame."""
    there = [
        (told_thing(scene, thing, age), scene.place(thing, age), thing.half()) for thing in scene.seen(age)
    ]
    return _cells(there, grid)


def cells_of_needle(needle: Needle | None, progress: float, grid: Grid) -> Cells:
    """The cells of a plain frame: one caption stands for all of it."""
    if needle is None:
        return Cells({}, set())
    told = Told(describe(needle))
    if isinstance(needle, Sticker):
        half = (needle.scale / 2, needle.scale / 2)
        return _cells([(told, centre, half) for centre in needle.centres(progress)], grid)
    if isinstance(needle, Caption):
        return _cells([(told, (0.5, needle.height), (0.5, BAND))], grid)
    assert isinstance(needle, Picture)
    return _cells([(told, (0.5, 0.5), (0.5, 0.5))], grid)


def _cells(things: list[tuple[Told, tuple[float, float], tuple[float, float]]], grid: Grid) -> Cells:
    """Of things with their centres and half sizes, all as shares of the frame."""
    centres: list[tuple[int, Told]] = []
    touched: set[int] = set()
    for told, (x, y), (wide, high) in things:
        row, column = _inside(y, grid.rows), _inside(x, grid.columns)
        centres.append((row * grid.columns + column, told))
        touched |= {
            r * grid.columns + c
            for r in range(_inside(y - high, grid.rows), _inside(y + high, grid.rows) + 1)
            for c in range(_inside(x - wide, grid.columns), _inside(x + wide, grid.columns) + 1)
        }
    held: dict[int, set[Told]] = {}
    for cell, told in centres:
        held.setdefault(cell, set()).add(told)
    return Cells({cell: next(iter(some)) for cell, some in held.items() if len(some) == 1}, touched)


def _inside(share: float, cells: int) -> int:
    return min(cells - 1, max(0, int(share * cells)))


def _paired_loss(tokens: Tensor, cells: list[Cells], words: Tellings) -> Tensor:
    """Of tokens that stand for no place: each is to tell of one thing, in whatever order suits them.

    Args:
        tokens: (F, m, D).
        cells: of each frame, at the native grid.
    """
    nothing = [Told(describe(None))]
    held = [(list(one.told.values()) or nothing, 0) for one in cells]
    wanted, weight, _ = pair_frames(tokens, held, words)
    errors = (tokens - wanted).square().mean(dim=-1)
    return (errors * weight).sum() / weight.sum() / words.variance


def _targets(cells: list[Cells], grid: Grid, words: Tellings) -> tuple[Tensor, Tensor, Tensor]:
    """Places of cells that tell of something, their vectors, and places of cells that nothing lies over."""
    places: list[int] = []
    told: list[Told] = []
    empty: list[int] = []
    for number, frame in enumerate(cells):
        start = number * grid.cells
        places += [start + cell for cell in frame.told]
        told += frame.told.values()
        empty += [start + cell for cell in range(grid.cells) if cell not in frame.touched]
    return torch.tensor(places, dtype=torch.long), words.vectors(told), torch.tensor(empty, dtype=torch.long)


class _Frames:
    """What every frame of a cache shows."""

    def __init__(self, bank: FeatureCache) -> None:
        self.pool, self.busy = bank.pool, bank.busy
        self.scenes: list[tuple[int, int]] = []  # scene and age of each busy frame
        if bank.busy is not None:
            counts = Counter(dict(enumerate(scene.seconds for scene in bank.busy.scenes)))
            self.scenes = [
                (number, age) for number, seconds in sorted(counts.items()) for age in range(seconds)
            ]

    def cells(self, row: int, grid: Grid) -> Cells:
        """Of the frame in a row of the cache."""
        if row < len(self.pool):
            return cells_of_needle(self.pool.needles[row], float(self.pool.progress[row]), grid)
        assert self.busy is not None  # where else would the row be from?
        number, age = self.scenes[row - len(self.pool)]
        return cells_of_scene(self.busy.scenes[number], float(age), grid)
