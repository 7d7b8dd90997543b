"""Drill nano's language model in looking things up and in comparing, many times in one told video.

A question about busy scenes rests on a few lookups among dozens of things: by a name and a time, where
something is. Told questions alone give so few that after two hours half of the lookups among eight things
still went wrong. A lookup drill says a time and a name and has the place said, a part of the frame and has
the name said, and so on, about twenty times: what is given is drawn at random and costs nothing, what is
looked up follows from what was told. A comparison drill gives a question and what its answer rests on,
without any frame, and has the answer said. Dynamic-nano is drilled in lookups, too, on the frames themselves.
"""

from collections import Counter
from collections.abc import Iterator, Set
from dataclasses import replace

import numpy as np

from bvllm.common.text import format_clock
from bvllm.nano.busy_examples import TOLD_THINGS, BusyExample, busy_examples, told_thing
from bvllm.nano.busy_pool import BusyPool
from bvllm.nano.captions import IGNORE, NOWHERE, CaptionedVideo, CaptionEncoder
from bvllm.nano.examples import LIST_STEMS
from bvllm.synthetic.busy.evidence import NOTHING, SIDE_WORDS, in_numbers, of_scene, where
from bvllm.synthetic.busy.spatial import MOST_COUNTED
from bvllm.synthetic.busy.things import SIGN, Scene, Thing
from bvllm.synthetic.busy.timeline import BusyTimeline
from bvllm.synthetic.tokenizer import ASSISTANT, END
from bvllm.synthetic.vocabulary import COLOURS, SHAPES

SCENES = 4  # at most, of a drill
VISITS = 6  # times that a scene is gone to
STAY = (2, 5)  # lookups before the next scene, from and to
LONGEST = 3600
Lookup = tuple[str, str]  # what is given, and what is looked up
# What is asked of given evidence, and how often: places are harder to compare than times; counts are said.
COMPARED = {
    "relation": 3.0,
    "next": 2.0,
    "order": 1.5,
    "arrival": 0.7,
    "motion": 0.4,
    "counting": 0.3,
    "repetition": 0.3,
}


def lookup_drills(pool: BusyPool, encoder: CaptionEncoder, seed: int) -> Iterator[CaptionedVideo]:
    """Endless drills about scenes of the pool."""
    rng = np.random.default_rng((seed, 61))
    while True:
        yield _drill(pool, encoder, rng)


def video_lookups(
    timeline: BusyTimeline, rng: np.random.Generator, scenes: Set[int] | None = None
) -> list[Lookup]:
    """Lookups about scenes that a video shows whole, for a model that sees it instead of being told.

    None about scenes that share a sign with another: they could not be told apart.

    Args:
        scenes: numbers of those that may be looked up; None means all.
    """
    labels = Counter(label for shown in timeline.shown for label in set(shown.scene.labels))
    whole = {
        int(shown.start): (shown.scene, list(shown.scene.things))
        for number, shown in enumerate(timeline.shown)
        if scenes is None or number in scenes
        if shown.end - shown.start == shown.scene.seconds and all(labels[x] == 1 for x in shown.scene.labels)
    }
    return list(_lookups(whole, rng)) if whole else []


def comparison_drills(pool: BusyPool, encoder: CaptionEncoder, seed: int) -> Iterator[CaptionedVideo]:
    """Endless questions of `COMPARED` whose evidence is given, without frames."""
    rng = np.random.default_rng((seed, 67))
    for example in busy_examples(pool, (8, LONGEST), seed + 1, tasks=list(COMPARED), weights=COMPARED):
        if example.question.evidence:
            yield _given(example, encoder, rng)


def _given(example: BusyExample, encoder: CaptionEncoder, rng: np.random.Generator) -> CaptionedVideo:
    video = encoder.lay_out(example, [], encoder.trade(rng))
    evidence = example.question.evidence
    count = len(encoder.tokens(f"{evidence} ="))
    said = next(k for k, label in enumerate(video.labels) if label != IGNORE)
    # On which side a place lies follows from the places, which side is asked from the question.
    compared = {encoder.tokens(side)[0] for side in SIDE_WORDS if example.question.task == "relation"}
    given = [label if label in compared else IGNORE for label in video.labels[said : said + count]]
    labels = video.labels[:said] + given + video.labels[said + count :]
    return replace(video, labels=labels)


def _drill(pool: BusyPool, encoder: CaptionEncoder, rng: np.random.Generator) -> CaptionedVideo:
    scenes = _scenes(pool, rng)
    length = np.exp(rng.uniform(np.log(10 * len(scenes)), np.log(LONGEST)))
    starts = np.sort(rng.choice(int(length) // 10, len(scenes), replace=False)) * 10 + rng.integers(0, 3)
    told = {}
    for scene, start in zip(scenes, starts.tolist(), strict=True):
        chosen = [scene.things[0], *(scene.things[k] for k in 1 + rng.permutation(len(scene.things) - 1))]
        told[start] = (scene, chosen[:TOLD_THINGS])
    frames, seconds, places = [], [], []
    trade = encoder.trade(rng)
    for start, (scene, things) in told.items():
        for age in (0, scene.seconds - 1):
            for k in rng.permutation(len(things)).tolist():
                if things[k].shows(age):
                    said = told_thing(scene, things[k], age)
                    frames.append([trade.get(w, w) for w in encoder.tokens(said.words)])
                    seconds.append(float(start + age))
                    places.append(said.place or NOWHERE)
    ids = encoder.tokens(LIST_STEMS[0]) + encoder.tokens(ASSISTANT)
    labels = [IGNORE] * len(ids)
    for given, found in _lookups(told, rng):
        for text, counts in ((given, False), (found, True)):
            words = [trade.get(w, w) for w in encoder.tokens(text)] if text else []
            ids += words
            labels += words if counts else [IGNORE] * len(words)
    end = encoder.tokens(END)
    return CaptionedVideo(frames, seconds, places, ids + end, labels + [IGNORE] * len(end))


def _scenes(pool: BusyPool, rng: np.random.Generator) -> list[Scene]:
    """Scenes of which no two share a sign."""
    found: list[Scene] = []
    for k in rng.integers(0, len(pool.scenes), int(rng.integers(1, SCENES + 1))).tolist():
        scene = pool.scenes[k]
        if not set(scene.labels) & {label for other in found for label in other.labels}:
            found.append(scene)
    return found


def _lookups(told: dict[int, tuple[Scene, list[Thing]]], rng: np.random.Generator) -> Iterator[Lookup]:
    """Go from scene to scene: find its time by its sign, or be told it; then things of it."""
    starts, done = list(told), set[tuple[int, Lookup]]()
    for _ in range(VISITS):
        start = starts[int(rng.integers(len(starts)))]
        scene, things = told[start]
        clock = format_clock(start)
        known = scene.anchor is not None and rng.random() < 0.5
        yield (str(scene.anchor), clock) if known else (clock, "")
        # What was said before could be copied.
        possible = [lookup for lookup in _of_scene(things, rng) if (start, lookup) not in done]
        for k in rng.permutation(len(possible))[: int(rng.integers(*STAY))].tolist():
            yield possible[k]
            yield (",", "")
            done.add((start, possible[k]))
        moving = [t for t in things if t.velocity != (0.0, 0.0)]
        if moving and rng.random() < 0.7:
            for age in (0, scene.seconds - 1):
                yield f"{format_clock(start + age)} {moving[0].name}", _numbers(*scene.place(moving[0], age))
                yield (",", "")


def _of_scene(things: list[Thing], rng: np.random.Generator) -> list[Lookup]:
    """What can be looked up at a scene's start without doubt."""
    there = [t for t in things if not t.arrives]
    names = Counter(t.name for t in there)
    kinds = Counter((t.size_word, t.shape) for t in there)
    cells = Counter(where(t) for t in there)
    signs = Counter(t.colour for t in there if t.is_sign)
    absent = [f"{colour} {shape}" for colour in COLOURS for shape in SHAPES]
    absent = [name for name in absent if name not in names]
    found: list[Lookup] = [(t.name, NOTHING) for t in things if t.arrives and t.name not in names]
    found.append((absent[int(rng.integers(len(absent)))], NOTHING))
    for t in there:
        if names[t.name] == 1:
            found += [(t.name, where(t)), (t.name, _numbers(t.x, t.y))]
        if t.is_sign:
            found += [(f"{t.colour} {SIGN}", where(t))] if signs[t.colour] == 1 else []
        elif kinds[t.size_word, t.shape] == 1:
            found.append((f"{t.size_word} {t.shape}", where(t)))
        if cells[where(t)] == 1:
            found.append((where(t), t.name))
    for value in {value for t in there if not t.is_sign for value in (t.colour, t.shape)}:
        alike = [t for t in there if not t.is_sign and value in (t.colour, t.shape)]
        if len(alike) <= MOST_COUNTED:
            found.append((f"{value} things:", f"{of_scene('counting', alike)} = {len(alike)}"))
    return found


def _numbers(x: float, y: float) -> str:
    return f"{in_numbers(x)} {in_numbers(y)}"
