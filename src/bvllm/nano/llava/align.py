"""Align llava-nano's projector: a patch becomes what the language model was told of the thing that covers it.

The LLM was warmed up on things told in words (`nano.language`): the sum of a thing's words and of where it
is. Here the projector learns to give just that sum for a patch of the thing, and nothing for bare footage.
Each patch has a target of its own, so tokens stay apart; no LLM runs, and thousands of frames cost a second.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from transformers import LlavaOnevisionForConditionalGeneration, PreTrainedTokenizerBase

from bvllm.nano.busy_examples import told_thing
from bvllm.nano.busy_pool import COVERED, BusyPool, covered
from bvllm.nano.feature_cache import FeatureCache
from bvllm.nano.language import Where
from bvllm.nano.loop import Control, StageLoop

STEPS, MINUTES, FRAMES, LR = 3000, 1.5, 96, 3e-3
BARE = 0.25  # weight of patches that nothing covers, of which there are more
NOTHING = -1


@dataclass(frozen=True)
class CoveredPatches:
    """Which thing covers each patch of each frame of the busy world.

    Attributes:
        which: (n, N) number of the telling of the thing that covers a patch most, NOTHING where none does.
        words: of each telling.
        places: (tellings, 3) see `Told`.
    """

    which: NDArray[np.int64]
    words: list[str]
    places: Tensor

    @classmethod
    def of(cls, pool: BusyPool, grid: int) -> "CoveredPatches":
        """Of every frame of a pool."""
        which = np.full((len(pool), grid * grid), NOTHING)
        words: list[str] = []
        places: list[tuple[float, float, float]] = []
        for scene, first in zip(pool.scenes, pool.first.tolist(), strict=True):
            for age in range(scene.seconds):
                best = np.full(grid * grid, COVERED)
                for thing in scene.seen(age):
                    share = covered(*scene.place(thing, age), thing.half(), grid)
                    wins = share >= best  # what lies over others is drawn later
                    best[wins] = share[wins]
                    which[first + age, wins] = len(words)
                    told = told_thing(scene, thing, age)
                    assert told.place is not None  # things have places
                    words.append(told.words)
                    places.append(told.place)
        return cls(which, words, torch.tensor(places))


def align_projector(
    model: LlavaOnevisionForConditionalGeneration,
    tokenizer: PreTrainedTokenizerBase,
    bank: FeatureCache,
    where: Where,
    *,
    seed: int,
    minutes: float = MINUTES,
    control: Control | None = None,
) -> None:
    """Train the projector in place, on the busy frames of a cache."""
    assert bank.busy is not None  # the recipe draws them
    side = round(bank.patches.shape[1] ** 0.5)
    things = CoveredPatches.of(bank.busy, side)
    targets = told_vectors(model, tokenizer, where, things)
    projector = model.model.multi_modal_projector.requires_grad_(True)
    loop = StageLoop(
        "align",
        list(projector.parameters()),
        steps=STEPS,
        minutes=minutes,
        lr=LR,
        warmup=50,
        decay=0.01,
        seed=seed,
        control=control,
    )
    rng, start = np.random.default_rng((loop.seed, 73)), len(bank.pool)
    spread = targets.var()
    for _ in loop:
        rows = torch.from_numpy(rng.integers(0, len(bank.busy), FRAMES))
        which = torch.from_numpy(things.which[rows])
        there = which != NOTHING
        wanted = F.embedding(which.clamp_min(0), targets) * there[..., None]
        error = (projector(bank.patches[rows + start].float()) - wanted).square().mean(dim=-1) / spread
        loss = error[there].mean() + BARE * error[~there].mean()
        loss.backward()
        loop.descend()
        loop.record(unexplained=error[there].mean().item(), bare=error[~there].mean().item())


@torch.no_grad()
def told_vectors(
    model: LlavaOnevisionForConditionalGeneration,
    tokenizer: PreTrainedTokenizerBase,
    where: Where,
    things: CoveredPatches,
) -> Tensor:
    """(tellings, D) what the language model was told of each: the sum of its words, and where it is."""
    table = model.get_input_embeddings().weight
    known = {text: tokenizer(text, add_special_tokens=False).input_ids for text in set(things.words)}
    ids = [known[text] for text in things.words]
    offsets = torch.tensor([0, *map(len, ids)])[:-1].cumsum(0)
    said = F.embedding_bag(torch.tensor([k for some in ids for k in some]), table, offsets, mode="sum")
    return said + where(things.places)
