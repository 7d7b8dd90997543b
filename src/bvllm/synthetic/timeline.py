"""Plan a video from its tasks: which needles, when, and what is asked about them."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from bvllm.synthetic.draft import Asker, Draft, Question
from bvllm.synthetic.draw import draw_needle
from bvllm.synthetic.needles import Event
from bvllm.synthetic.tasks import TASKS, check_tasks
from bvllm.synthetic.vocabulary import Split

SHORTEST = 8  # seconds: room for the four needles of an ordering question, each with a second between
LONG = 60  # seconds from which on a needle may be shown for longer than one
MOST_EVENTS = 12
GAP_SHARE = 1 / 28  # needles of a long video keep at least this share of it between them


@dataclass(frozen=True)
class Timeline:
    """The plan of one video.

    Attributes:
        seconds: length of the video.
        events: needles, in the order of drafting (not of time).
        questions: what is asked.
    """

    seconds: float
    events: tuple[Event, ...]
    questions: tuple[Question, ...]

    def shown_at(self, time: float) -> Event | None:
        """The event that can be seen at `time`; events never overlap."""
        return next((event for event in self.events if event.shows(time)), None)

    def draw(self, picture: Image.Image, time: float) -> Image.Image:
        """The picture of the haystack with what is shown at `time`."""
        event = self.shown_at(time)
        return (
            picture
            if event is None
            else draw_needle(picture, event.needle, (time - event.start) / event.seconds)
        )


def plan_video(
    rng: np.random.Generator, split: Split, seconds: float, tasks: list[str], *, questions: int = 4
) -> Timeline:
    """Plan a video that answers up to `questions` of the tasks, in the order in which they are given.

    A task is passed over where its needles have no room or would make another question ambiguous.

    Args:
        rng: decides everything.
        split: whose combinations may be used.
        seconds: length of the video, at least `SHORTEST`.
        tasks: names from `TASKS`, the most wanted first.
        questions: the most to ask.

    Raises:
        ValueError: the video is too short for a needle, or a task is unknown.
    """
    if not seconds >= SHORTEST:
        raise ValueError(
            f"seconds must be at least {SHORTEST}, got {seconds:g}: "
            "ask for a longer video, a shorter one has no room for four needles"
        )
    check_tasks(tasks)
    room = min(MOST_EVENTS, int((seconds + 1) // 2))
    draft = Draft(rng, split, room, longest=3 if seconds >= LONG else 1)
    askers: list[Asker] = []
    for task in tasks:
        if len(askers) == questions:
            break
        asker = TASKS[task](draft)
        if asker is not None:
            askers.append(asker)
    for _ in range(int(rng.integers(0, draft.room + 1)) if draft.room else 0):
        needle = draft.unclaimed_needle()
        if needle is None:
            break
        if draft.is_new(needle):
            draft.add(needle, longest=2)
    events = _place(draft, seconds)
    return Timeline(seconds, tuple(events), tuple(ask(events) for ask in askers))


def _place(draft: Draft, seconds: float) -> list[Event]:
    """Give every needle its whole second: random order, random gaps, none smaller than the least."""
    count, whole = len(draft.needles), int(seconds)
    if not count:
        return []
    needed = sum(draft.seconds)
    gap = min(max(1, int(seconds * GAP_SHARE)), max(0, (whole - needed) // count))
    spare = whole - needed - gap * (count - 1)
    before = np.sort(draft.rng.integers(0, spare + 1, size=count))
    order = draft.rng.permutation(count)
    starts, used = np.zeros(count), 0
    for place, number in enumerate(order):
        starts[number] = before[place] + used
        used += draft.seconds[number] + gap
    return [
        Event(n, float(s), float(d)) for n, s, d in zip(draft.needles, starts, draft.seconds, strict=True)
    ]
