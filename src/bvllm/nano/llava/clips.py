"""Draw llava-nano's training clips: a question, and the frames that a person, or a method, would show it."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from bvllm.nano.captions import all_examples
from bvllm.nano.feature_cache import AnyExample, FeatureCache
from bvllm.synthetic.vocabulary import Split

SPREAD = 0.5  # share of the clips whose frames spread evenly over the video; others show what is asked
FEWEST, MOST = 2, 24  # frames of a clip, log-uniform between
OTHERS = 6  # frames that nobody asked about, of the other clips
CLOCKED = "when"  # a task that asks for times: frames reach this model without any
GROUPS = 6  # batches that are drawn together and sorted by length


@dataclass(frozen=True)
class SeenClip:
    """A question and the frames that the model is shown.

    Attributes:
        times: (F,) seconds of the frames, ascending.
        rows: (F,) where their features lie in the cache.
    """

    example: AnyExample
    times: Tensor
    rows: Tensor


def shown_times(example: AnyExample, rng: np.random.Generator) -> list[int]:
    """Which seconds of a video are shown in training: few or many, what is asked about mostly among them."""
    most = round(float(np.exp(rng.uniform(np.log(FEWEST), np.log(MOST)))))
    asked, key = np.array(example.asked_frames(), dtype=int), example.key_frames()
    if rng.random() < SPREAD:
        even = np.linspace(0, example.frames - 1, min(most, example.frames)).round().astype(int).tolist()
        return sorted({*even, *key})
    some = rng.permutation(asked)[:most].tolist()
    others = rng.integers(0, example.frames, int(rng.integers(0, OTHERS))).tolist()
    return sorted({*some, *(key if rng.random() < SPREAD or not some else ()), *others, *others[:1]}) or [0]


def seen_clips(
    bank: FeatureCache, split: Split, seconds: tuple[float, float], busy: float, seed: int
) -> Iterator[SeenClip]:
    """Endless clips of both worlds, none of which asks for a time."""
    rng = np.random.default_rng((seed, 61))
    for example in all_examples(bank.busy, seconds, seed, split=split, busy=busy):
        if example.question.task == CLOCKED or not bank.can_show(example):
            continue
        times = shown_times(example, rng)
        yield SeenClip(example, torch.tensor(times), bank.clip_rows(example, rng)[times])


def clip_batches(
    bank: FeatureCache, seconds: tuple[float, float], busy: float, batch: int, seed: int
) -> Iterator[list[SeenClip]]:
    """Endless batches; clips of a batch have like numbers of frames, so that padding is small."""
    stream = seen_clips(bank, "train", seconds, busy, seed)
    rng = np.random.default_rng((seed, 67))
    while True:
        group = sorted(islice(stream, batch * GROUPS), key=lambda clip: len(clip.rows))
        for k in rng.permutation(GROUPS).tolist():
            yield group[k * batch : (k + 1) * batch]
