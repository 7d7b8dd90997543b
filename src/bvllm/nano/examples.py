"""Draw nano's training examples: a question, and what every sampled frame of its video shows."""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Generic, NamedTuple, Self, TypeVar

import numpy as np

from bvllm.data.chat import LETTERS, format_clock, join_options
from bvllm.synthetic.busy.timeline import BusyTimeline
from bvllm.synthetic.draft import Question
from bvllm.synthetic.needles import Event
from bvllm.synthetic.sampling import describe
from bvllm.synthetic.tasks import TASKS
from bvllm.synthetic.timeline import Timeline, plan_video
from bvllm.synthetic.vocabulary import Split

QUESTIONS_PER_VIDEO = 3
MULTIPLE_CHOICE = 0.75  # share of questions that are put with options
LISTINGS = 0.12  # listings per question
LIST_STEMS = ("please list all you see.", "describe all that happens.", "tell me what the video shows.")
# Tasks that learn slowest are asked more often than the others.
WEIGHTS = {
    "counting_edit1": 1.6,
    "counting_edit2": 1.6,
    "when": 1.4,
    "ordering_edit": 1.8,
    "ordering_insert1": 1.8,
    "ordering_insert2": 1.8,
}


class Told(NamedTuple):
    """What one vector says when a frame is told in words: a thing of it, or all of it.

    Attributes:
        words: as a person would say them.
        place: where it is, and how large, each about -0.5..0.5; None where the words say all.
    """

    words: str
    place: tuple[float, float, float] | None = None


Plan = TypeVar("Plan", Timeline, BusyTimeline)


@dataclass(frozen=True)
class Posed(Generic[Plan]):
    """A question about a video of `frames` frames at one a second, in either world.

    Attributes:
        timeline: the video's plan.
        question: what is asked.
        prompt: the question as the user puts it, with or without options.
        reply: the whole answer.
    """

    timeline: Plan
    question: Question
    prompt: str
    reply: str

    @property
    def frames(self) -> int:
        return int(self.timeline.seconds)

    def with_options(self) -> Self:
        """The same question, put with its options, as exams put it."""
        prompt, reply = put_words(self.question, with_options=True)
        return replace(self, prompt=prompt, reply=reply)


class Example(Posed[Timeline]):
    """A question about needles of the plain world."""

    @property
    def asked(self) -> list[Event]:
        return [self.timeline.events[k] for k in self.question.needles]

    def asked_frames(self) -> list[int]:
        """Every frame that shows an asked needle, ascending."""
        return sorted(t for event in self.asked for t in frames_of(event))

    def key_frames(self) -> list[int]:
        """What a good selector would find: all of `asked_frames`."""
        return self.asked_frames()

    def other_frames(self) -> list[int]:
        """Every frame that shows some other needle, ascending."""
        asked = set(self.question.needles)
        return sorted(t for k, e in enumerate(self.timeline.events) if k not in asked for t in frames_of(e))

    def told(self, time: int, rng: np.random.Generator) -> list[Told]:
        """What a frame shows, in one caption."""
        event = self.timeline.shown_at(time)
        return [Told(describe(event.needle if event else None))]


def frames_of(event: Event) -> range:
    """The whole seconds at which an event can be seen."""
    return range(int(event.start), int(event.end))


def examples(
    split: Split, seconds: tuple[float, float], seed: int, *, weights: Mapping[str, float] = WEIGHTS
) -> Iterator[Example]:
    """Endless examples; lengths are log-uniform, so that short and long videos come equally often.

    Args:
        seconds: the shortest and the longest video.
        weights: how often tasks are asked, beside 1; an exam asks all alike.
    """
    rng = np.random.default_rng((seed, 17))
    names = list(TASKS)
    weight = np.array([weights.get(name, 1.0) for name in names])
    low, high = np.log(seconds[0]), np.log(seconds[1])
    for _ in itertools.count():
        length = float(round(np.exp(rng.uniform(low, high))))
        order = [str(t) for t in rng.choice(names, len(names), replace=False, p=weight / weight.sum())]
        timeline = plan_video(rng, split, max(8.0, length), order, questions=QUESTIONS_PER_VIDEO)
        for question in timeline.questions:
            yield put(timeline, question, with_options=bool(rng.random() < MULTIPLE_CHOICE))
        if timeline.events and rng.random() < LISTINGS * QUESTIONS_PER_VIDEO:
            yield put(timeline, list_all(timeline, rng), with_options=False)


def list_all(timeline: Timeline, rng: np.random.Generator) -> Question:
    """Ask for everything there is to see.

    In training only: it teaches seeing, order and the clock at once.
    """
    order = sorted(range(len(timeline.events)), key=lambda k: timeline.events[k].start)
    said = [f"{format_clock(timeline.events[k].start)} {describe(timeline.events[k].needle)}" for k in order]
    return Question(
        "listing", LIST_STEMS[int(rng.integers(len(LIST_STEMS)))], (", ".join(said),), 0, "", tuple(order)
    )


def put(timeline: Timeline, question: Question, *, with_options: bool) -> Example:
    """Word a question and its answer, with lettered options or without."""
    return Example(timeline, question, *put_words(question, with_options=with_options))


def put_words(question: Question, *, with_options: bool) -> tuple[str, str]:
    """The prompt and the reply."""
    if not with_options:
        return question.stem, question.answer
    prompt = join_options(question.stem, question.options)
    return prompt, f"{question.answer} ({LETTERS[question.right]})"
