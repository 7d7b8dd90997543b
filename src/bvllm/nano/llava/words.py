"""Teach words to llava-nano's tower: which frames a question's words are about, as CLIP's text side tells.

The tower of nano reads captions of the plain world. Here a sum of word embeddings learns, beside the frozen
tower, what frames of both worlds hold: "sign q7", "red star". Words of captions only: no question and no
answer is seen, so that it does for every method what an off-the-shelf CLIP does for a full-size model.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from bvllm.model.text_encoder import TextEncoder
from bvllm.nano.feature_cache import FeatureCache
from bvllm.nano.loop import Control, StageLoop
from bvllm.synthetic.busy.things import Scene
from bvllm.synthetic.sampling import describe

STEPS, MINUTES, BATCH, LR = 3000, 2.0, 256, 3e-3
MENTIONED = 3  # things of a frame that a caption names at most


def warm_up_words(
    bank: FeatureCache, *, seed: int, minutes: float = MINUTES, control: Control | None = None
) -> TextEncoder:
    """The text side of a frozen tower, by contrast between frames and captions of what they hold."""
    torch.manual_seed(seed)
    captions = Captions(bank)
    words = TextEncoder(captions.vocabulary(), bank.frames.shape[1])
    loop = StageLoop(
        "words",
        list(words.parameters()),
        steps=STEPS,
        minutes=minutes,
        lr=LR,
        warmup=50,
        decay=0.01,
        seed=seed,
        control=control,
    )
    rng = np.random.default_rng((loop.seed, 71))
    for _ in loop:
        rows = rng.integers(0, len(bank.frames), BATCH)
        said, holds = captions.draw(rows, rng)
        logits = words.scale.exp().clamp(max=100) * F.normalize(bank.frames[rows], dim=-1) @ words(said).mT
        loss = (_contrast(logits, holds) + _contrast(logits.mT, holds.mT)) / 2
        loss.backward()
        loop.descend()
        best = logits.argmax(dim=0)
        loop.record(loss=loss.item(), right=holds[best, torch.arange(len(said))].float().mean().item())
    return words.eval().requires_grad_(False)


def _contrast(logits: Tensor, holds: Tensor) -> Tensor:
    """CLIP's loss, where several captions may be true of a frame."""
    log_share = logits.log_softmax(dim=-1)
    return -((log_share * holds).sum(dim=-1) / holds.sum(dim=-1).clamp_min(1)).mean()


class Captions:
    """What every frame of a cache holds, in words."""

    def __init__(self, bank: FeatureCache) -> None:
        self.plain = [frozenset(describe(needle).split()) for needle in bank.pool.needles]
        self.busy: list[list[frozenset[str]]] = []
        scenes: tuple[Scene, ...] = bank.busy.scenes if bank.busy is not None else ()
        for scene in scenes:
            self.busy += [
                [frozenset(thing.words.lower().split()) for thing in scene.seen(age)]
                for age in range(scene.seconds)
            ]

    def vocabulary(self) -> list[str]:
        """Every word, sorted."""
        things = (words for frame in self.busy for words in frame)
        return sorted(set().union(*self.plain, *things))

    def things(self, row: int) -> list[frozenset[str]]:
        """The things of a frame, each as a set of words."""
        return [self.plain[row]] if row < len(self.plain) else self.busy[row - len(self.plain)]

    def draw(self, rows: np.ndarray, rng: np.random.Generator) -> tuple[list[str], Tensor]:
        """A caption of some things for each frame; and (frames, captions) which are true of which."""
        held = [self.things(int(row)) for row in rows]
        named = []
        for things in held:
            count = min(len(things), int(rng.integers(1, MENTIONED + 1)))
            some = [things[int(k)] for k in rng.permutation(len(things))[:count]]
            named.append(some or [frozenset({"nothing"})])
        holds = torch.tensor(
            [[all(thing in frame for thing in some) for some in named] for frame in map(set, held)]
        )
        holds |= torch.eye(len(rows), dtype=torch.bool)
        return [" ".join(" ".join(sorted(thing)) for thing in some) for some in named], holds.float()
