"""Draw llava-nano's training clips: a question, and the frames that a person, or a method, would show it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from bvllm.data.chat import LETTERS
from bvllm.nano.captions import all_videos
from bvllm.nano.feature_cache import AnyExample, FeatureCache
from bvllm.synthetic.vocabulary import Split

SPREAD = 0.5  # share of the clips whose frames spread evenly over the video; others show what is asked
FEWEST, MOST = 2, 24  # frames of a clip, log-uniform between
OTHERS = 6  # frames that nobody asked about, of the other clips
CLOCKED = "when"  # a task that asks for times: frames reach this model without any
TURNS = 8  # questions of a busy video, at most
JOINED = 0.7  # of the further questions, those that bring their frames
CLOCKS = re.compile(r"\b\d\d:\d\d(:\d\d)? ?")
GROUPS = 6  # batches that are drawn together and sorted by length


@dataclass(frozen=True)
class SeenClip:
    """A question and the frames that the model is shown.

    Attributes:
        times: (F,) seconds of the frames, ascending.
        rows: (F,) where their features lie in the cache.
        further: more questions about the same video, answered from these frames in further turns.
    """

    example: AnyExample
    times: Tensor
    rows: Tensor
    further: tuple[AnyExample, ...] = ()


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


def spoken(example: AnyExample) -> AnyExample:
    """The same example with the reply that this model learns.

    With options it names one at once: options are compared by how likely a reply is to begin with them.
    Without, it says first what the answer rests on, but no times.

    Example:
        >>> from bvllm.nano.busy_examples import BusyExample, BusyTimeline, Question
        >>> question = Question("binding", "which colour?", ("red", "blue"), 1, "00:04 large star top", ())
        >>> video = BusyTimeline(8.0, (), ())
        >>> example = BusyExample(video, question, question.stem, question.answer)
        >>> spoken(example).reply, spoken(example.with_options()).reply
        ('large star top = blue', 'blue (B)')
    """
    question = example.question
    answer = question.options[question.right]
    if example.prompt != question.stem:
        return replace(example, reply=f"{answer} ({LETTERS[question.right]})")
    said = CLOCKS.sub("", question.evidence).strip(", ")
    return replace(example, reply=f"{said} = {answer}" if said else answer)


def seen_clips(
    bank: FeatureCache, split: Split, seconds: tuple[float, float], busy: float, seed: int
) -> Iterator[SeenClip]:
    """Endless clips of both worlds, none of which asks for a time.

    Frames are chosen for one question of a video; of the others, some bring the ends of their scenes, and
    those are asked that the frames answer.
    """
    rng = np.random.default_rng((seed, 61))
    for of_video in all_videos(bank.busy, seconds, seed, split=split, busy=busy, questions=TURNS):
        asked = [spoken(e) for e in of_video if e.question.task != CLOCKED]
        if not asked or not bank.can_show(asked[0]):
            continue
        first, *others = (asked[k] for k in rng.permutation(len(asked)).tolist())
        seen = set(shown_times(first, rng))
        for example in others:
            both = seen | set(example.key_frames())
            if len(both) <= MOST and rng.random() < JOINED:
                seen = both
        further = tuple(e for e in others if e.asked_frames() and set(e.key_frames()) <= seen)
        times = sorted(seen)
        yield SeenClip(first, torch.tensor(times), bank.clip_rows(first, rng)[times], further)


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
