"""Draw busy training examples: a question, and what every sampled frame of its video shows."""

import zlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from bvllm.nano.busy_pool import BusyPool
from bvllm.nano.examples import MULTIPLE_CHOICE, QUESTIONS_PER_VIDEO, Posed, Told, put_words
from bvllm.synthetic.busy.tasks import BUSY_TASKS, Shown
from bvllm.synthetic.busy.things import Scene, Thing, cell_of
from bvllm.synthetic.busy.timeline import BusyTimeline, plan_busy
from bvllm.synthetic.draft import Question

TOLD_THINGS = 8  # of a frame, when it is told in words: as many as the sampler has tokens
FEW_TOLD = 3  # where whole scenes are asked about, of which many frames are told; the sign is among them
LISTINGS = 0.12  # listings per question
LISTED = 4  # things that a listing names
SHORTEST = 8.0
# Tasks that learn slowest are asked more often than the others.
WEIGHTS = {
    "relation": 2.0,
    "counting": 2.0,
    "arrival": 1.7,
    "next": 1.6,
    "reading": 1.5,
    "motion": 1.3,
    "odd": 1.3,
    "repetition": 1.3,
    "order": 1.2,
    "binding": 0.8,
    "when": 0.4,
}


class BusyExample(Posed[BusyTimeline]):
    """A question about scenes of the busy world."""

    @property
    def asked(self) -> list[int]:
        return list(self.question.needles)

    def asked_frames(self) -> list[int]:
        """Every frame of an asked scene, ascending."""
        return sorted(t for one in self._shown for t in range(int(one.start), int(one.end)))

    def key_frames(self) -> list[int]:
        """The first and the last frame of every asked scene, ascending."""
        ends = [(int(one.start), max(int(one.start), int(one.end) - 1)) for one in self._shown]
        return sorted({t for pair in ends for t in pair})

    @property
    def _shown(self) -> list[Shown]:
        return [self.timeline.shown[k] for k in self.question.needles]

    def other_frames(self) -> list[int]:
        """The first frames of some other scenes."""
        asked = set(self.question.needles)
        return [int(one.start) for k, one in enumerate(self.timeline.shown) if k not in asked][:6]

    def told(self, time: int, rng: np.random.Generator) -> list[Told]:
        """What a frame shows, thing by thing: as many as there is room for, those that are asked about first.

        What the options name comes next: were the right one alone sure to be told, to be told would be the
        answer. The things are the same in every frame of a scene: so it is known what comes and what leaves.
        """
        shown = self.timeline.at(time)
        scene, age = shown.scene, time - shown.start
        choice = np.random.default_rng((zlib.crc32(self.question.stem.encode()), int(shown.start)))
        about, named = set(map(id, self.question.about)), set(self.question.options)
        order = [scene.things[k] for k in choice.permutation(len(scene.things)).tolist()]
        first = [t for t in order if id(t) in about or t is scene.things[0]]
        rest = [t for t in order if t not in first]
        more = sorted(rest, key=lambda t: t.name not in named)  # stable: the others stay as they came
        room = TOLD_THINGS if self.question.about else FEW_TOLD
        chosen = {id(t) for t in (first + more)[:room]}
        there = [t for t in scene.seen(age) if id(t) in chosen]
        return [told_thing(scene, there[k], age) for k in rng.permutation(len(there)).tolist()]


def told_thing(scene: Scene, thing: Thing, age: float) -> Told:
    """A thing in words, its part of the frame among them, and where exactly it is."""
    x, y = scene.place(thing, age)
    return Told(
        f"{thing.words} {cell_of(*(min(0.999, max(0.0, v)) for v in (x, y)))}",
        (x - 0.5, y - 0.5, thing.size * 8 - 0.5),
    )


def busy_examples(
    pool: BusyPool,
    seconds: tuple[float, float],
    seed: int,
    *,
    tasks: Sequence[str] = tuple(BUSY_TASKS),
    weights: Mapping[str, float] = WEIGHTS,
    questions: int = QUESTIONS_PER_VIDEO,
) -> Iterator[BusyExample]:
    """Endless examples of scenes in the pool; lengths are log-uniform.

    Args:
        seconds: the shortest and the longest video.
        weights: how often tasks are asked, beside 1; an exam asks all alike.
        questions: the most about one video.
    """
    rng = np.random.default_rng((seed, 47))
    low, high = np.log(max(SHORTEST, seconds[0])), np.log(seconds[1])
    source = pool.source(rng)
    names = list(tasks)
    weight = np.array([weights.get(name, 1.0) for name in names])
    while True:
        length = float(round(np.exp(rng.uniform(low, high))))
        order = [str(task) for task in rng.choice(names, len(names), replace=False, p=weight / weight.sum())]
        try:
            timeline = plan_busy(rng, length, order, source, questions=questions)
        except ValueError:  # a short video, and long scenes
            continue
        for question in timeline.questions:
            yield _put(timeline, question, with_options=bool(rng.random() < MULTIPLE_CHOICE))
            if rng.random() < LISTINGS and question.needles:
                yield _put(timeline, _listing(timeline, question, rng), with_options=False)


def _put(timeline: BusyTimeline, question: Question, *, with_options: bool) -> BusyExample:
    return BusyExample(timeline, question, *put_words(question, with_options=with_options))


def _listing(timeline: BusyTimeline, question: Question, rng: np.random.Generator) -> Question:
    """Things of a part of the frame, from left to right; in training only: it teaches where things are."""
    number = question.needles[0]
    scene = timeline.shown[number].scene
    things = [t for t in scene.things if not t.arrives]
    chosen = [things[k] for k in rng.permutation(len(things))[:LISTED].tolist()]
    cell = cell_of(chosen[0].x, chosen[0].y)  # the question decides which of all things are listed
    inside = sorted((t for t in things if cell_of(t.x, t.y) == cell), key=lambda t: t.x)[:LISTED]
    said = ", ".join(f"{t.size_word} {t.name}" for t in inside)
    stem = f"list all at the {cell}."
    stem = stem if scene.anchor is None else f"in the scene with the sign {scene.anchor}, {stem}"
    return Question("listing", stem, (said,), 0, "", (number,), about=tuple(inside))
