"""Tell busy videos in words with one kind of knowledge taken away."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from bvllm.nano.busy_examples import BusyExample, busy_examples, told_thing
from bvllm.nano.busy_pool import BusyPool
from bvllm.nano.captions import oracle_frames
from bvllm.nano.examples import Told, put_words
from experiments.controls.frames import key_frames
from experiments.controls.promises import Control

SECONDS = (8.0, 3600.0)  # of the videos, log-uniform, as in nano's training
Telling = list[tuple[float, Told]]


def asked(pool: BusyPool, seed: int, seconds: tuple[float, float] = SECONDS) -> Iterator[BusyExample]:
    """Endless questions with options about busy videos; answers say no evidence, which few controls have."""
    for example in busy_examples(pool, seconds, seed):
        if example.question.task != "listing":
            question = replace(example.question, evidence="")
            prompt, reply = put_words(question, with_options=True)
            yield replace(example, question=question, prompt=prompt, reply=reply)


def tell(control: Control, example: BusyExample, rng: np.random.Generator) -> Telling:
    """What a control knows of a video, one vector a thing, with the second of its frame.

    All things of a frame are told, where nano's training tells eight at most and those that are asked about
    always: else the one option that was told would be right.
    """
    if control == "blind":
        return []
    keys = key_frames(example.question, example.timeline)
    if control == "single-frame":
        return _frame(example, int(rng.choice(keys)), rng)
    frames = sorted({*keys, *oracle_frames(example, rng)})
    if control == "bag-of-things":
        return _bag(example, frames, rng)
    return [one for frame in frames for one in _frame(example, frame, rng)]


def _frame(example: BusyExample, second: int, rng: np.random.Generator) -> Telling:
    """The things of a frame in words, each with its place and its second, in random order."""
    shown = example.timeline.at(second)
    scene, age = shown.scene, second - shown.start
    told = [told_thing(scene, thing, age) for thing in scene.seen(age)]
    return [(float(second), told[k]) for k in rng.permutation(len(told)).tolist()]


def _bag(example: BusyExample, frames: list[int], rng: np.random.Generator) -> Telling:
    """The things of all frames in words alone, in random order and at no time.

    What several frames of a scene show is told once, or how often it is told would say which thing comes
    later; two equal things of a scene are told twice, and so are equal things of two scenes.
    """
    things: dict[tuple[int, int], str] = {}
    for frame in frames:
        number = example.timeline.number_at(frame)
        shown = example.timeline.shown[number]
        things |= {(number, id(thing)): thing.words for thing in shown.scene.seen(frame - shown.start)}
    words = list(things.values())
    return [(0.0, Told(words[k])) for k in rng.permutation(len(words)).tolist()]
