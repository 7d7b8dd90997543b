"""Define the fourteen tasks: what is asked about a video, and what the answer is.

The nine tasks of VNBench (VideoNIAH, arXiv 2406.09367: retrieval, ordering and counting, each in three forms)
and five more. See `draft` for the two steps of a task.
"""

from collections.abc import Callable, Collection, Sequence

import numpy as np

from bvllm.common.text import format_clock
from bvllm.synthetic.draft import OPTIONS, Asker, Draft, Question, shuffle_options
from bvllm.synthetic.needles import Event, Needle, Sticker
from bvllm.synthetic.phrases import EXISTENCE_STEMS, STEMS, WHEN_STEMS, WHOLE_STEMS
from bvllm.synthetic.sampling import pick, random_caption, random_picture, random_sticker
from bvllm.synthetic.vocabulary import (
    COLOURS,
    CORNERS,
    DIRECTIONS,
    ITEMS,
    LANDMARKS,
    SHAPES,
    WORDS,
    colours_for,
)

# A task puts its needles on a draft and returns how it will ask, or None where there is no room for it.
Task = Callable[[Draft], Asker | None]

ORDERED = 4  # needles in an ordering question, as in VNBench
MOST_TIMES = 5  # appearances in a counting question
MOST_COPIES = 3  # equal stickers at once
MOST_MANY = 3  # appearances where each may have several copies


def _retrieval(task: str, kind: str, names: tuple[str, ...], make: Callable[[Draft], Needle]) -> Task:
    """The only needle of its kind: which one is it?"""

    def draft_it(draft: Draft) -> Asker | None:
        if draft.room < 1 or not draft.claim(kind):
            return None
        number = draft.add(make(draft), longest=2)
        options, right = shuffle_options(draft.rng, draft.needles[number].name, list(names))
        stem = pick(draft.rng, WHOLE_STEMS[task])
        return lambda events: Question(task, stem, options, right, "", (number,))

    return draft_it


def _ordering(task: str, kind: str, names: tuple[str, ...], make: Callable[[Draft, str], Needle]) -> Task:
    """The only four needles of their kind: in which order do they come?"""

    def draft_it(draft: Draft) -> Asker | None:
        if draft.room < ORDERED or not draft.claim(kind):
            return None
        chosen = [str(n) for n in draft.rng.choice(names, ORDERED, replace=False)]
        numbers = tuple(draft.add(make(draft, name)) for name in chosen)
        stem = pick(draft.rng, WHOLE_STEMS[task])

        def ask(events: list[Event]) -> Question:
            ordered = sorted(numbers, key=lambda k: events[k].start)
            true = [events[k].needle.name for k in ordered]
            wrong: list[str] = []
            while len(set(wrong)) < OPTIONS - 1:
                shuffled = [str(n) for n in draft.rng.permutation(true)]
                if shuffled != true:
                    wrong.append(", ".join(shuffled))
            options, right = shuffle_options(draft.rng, ", ".join(true), wrong)
            return Question(task, stem, options, right, "", tuple(ordered))

        return ask

    return draft_it


def _numbers_near(rng: np.random.Generator, true: int) -> tuple[tuple[str, ...], int]:
    near = [n for n in range(max(0, true - 3), true + 4) if n != true]
    return shuffle_options(rng, str(true), [str(n) for n in near])


def _count_appearances(draft: Draft) -> Asker | None:
    shape = draft.claim_shape() if draft.room >= 1 else None
    if shape is None:
        return None
    first = random_sticker(draft.rng, draft.split, shape=shape)
    times = int(draft.rng.integers(1, min(MOST_TIMES, draft.room) + 1))
    numbers = [draft.add(first)]
    numbers += [
        draft.add(random_sticker(draft.rng, draft.split, shape=shape, colour=first.colour))
        for _ in range(times - 1)
    ]
    _maybe_lookalike(draft, first)
    stem = pick(draft.rng, STEMS["counting_edit1"]).format(first.name)
    return lambda events: _counted(draft, "counting_edit1", stem, numbers, events, [1] * times)


def _count_copies(draft: Draft) -> Asker | None:
    shape = draft.claim_shape() if draft.room >= 1 else None
    if shape is None:
        return None
    colour = pick(draft.rng, colours_for(SHAPES.index(shape), draft.split))
    times = int(draft.rng.integers(1, min(MOST_MANY, draft.room) + 1))
    copies = [int(draft.rng.integers(1, MOST_COPIES + 1)) for _ in range(times)]
    numbers = [
        draft.add(random_sticker(draft.rng, draft.split, shape=shape, colour=colour, count=n)) for n in copies
    ]
    stem = pick(draft.rng, STEMS["counting_edit2"]).format(f"{colour} {shape}")
    return lambda events: _counted(draft, "counting_edit2", stem, numbers, events, copies)


def _count_pictures(draft: Draft) -> Asker | None:
    if draft.room < 1 or not draft.claim("item"):
        return None
    subject = pick(draft.rng, ITEMS)
    times = int(draft.rng.integers(1, min(MOST_TIMES, draft.room) + 1))
    numbers = [draft.add(random_picture(draft.rng, draft.split, subject=subject)) for _ in range(times)]
    if draft.room and draft.rng.random() < 0.5:
        draft.add(
            random_picture(
                draft.rng, draft.split, subject=pick(draft.rng, [i for i in ITEMS if i != subject])
            )
        )
    stem = pick(draft.rng, STEMS["counting_insert"]).format(subject)
    return lambda events: _counted(draft, "counting_insert", stem, numbers, events, [1] * times)


def _counted(
    draft: Draft, task: str, stem: str, numbers: list[int], events: list[Event], copies: list[int]
) -> Question:
    """Its evidence is the time of every appearance, with the number of copies where there may be several."""
    ordered = sorted(zip(numbers, copies, strict=True), key=lambda pair: events[pair[0]].start)
    several = task == "counting_edit2"
    said = [format_clock(events[k].start) + (f" {n}" if several else "") for k, n in ordered]
    options, right = _numbers_near(draft.rng, sum(copies))
    return Question(task, stem, options, right, ", ".join(said), tuple(k for k, _ in ordered))


def _maybe_lookalike(draft: Draft, needle: Sticker) -> None:
    """Half of the time, the same shape in another colour, so that the shape alone does not answer."""
    others = [c for c in colours_for(SHAPES.index(needle.shape), draft.split) if c != needle.colour]
    if draft.room and others and draft.rng.random() < 0.5:
        draft.add(random_sticker(draft.rng, draft.split, shape=needle.shape, colour=pick(draft.rng, others)))


def _existence(draft: Draft) -> Asker | None:
    there = draft.rng.random() < 0.5
    if there and not draft.needles:
        shape = draft.claim_shape() if draft.room else None
        if shape is None:
            return None
        draft.add(random_sticker(draft.rng, draft.split, shape=shape), longest=2)
    absent = draft.absent_needle()

    def ask(events: list[Event]) -> Question:
        number = int(draft.rng.integers(len(events))) if there else -1
        needle = events[number].needle if there else absent
        if needle is None:
            raise AssertionError("an absent needle was promised by the draft")
        stem = pick(draft.rng, EXISTENCE_STEMS[type(needle)]).format(needle.name)
        # A task that was drafted later may need the very needle that was to be absent: what is shown decides.
        shown = tuple(k for k, e in enumerate(events) if e.needle.name == needle.name)
        first = format_clock(min(events[k].start for k in shown)) if shown else ""
        options = ("yes", "no") if draft.rng.random() < 0.5 else ("no", "yes")
        return Question("existence", stem, options, options.index("yes" if shown else "no"), first, shown)

    return ask if there or absent is not None else None


def _colour(draft: Draft) -> Asker | None:
    shape = draft.claim_shape() if draft.room >= 1 else None
    if shape is None:
        return None
    needle = random_sticker(draft.rng, draft.split, shape=shape)
    number = draft.add(needle, longest=2)
    options, right = shuffle_options(draft.rng, needle.colour, list(COLOURS))
    stem = pick(draft.rng, STEMS["colour"]).format(shape)
    return lambda events: Question("colour", stem, options, right, "", (number,))


def _position(draft: Draft) -> Asker | None:
    shape = draft.claim_shape() if draft.room >= 1 else None
    if shape is None:
        return None
    needle = random_sticker(draft.rng, draft.split, shape=shape)
    number = draft.add(needle, longest=2)
    options, right = shuffle_options(draft.rng, needle.corners[0], list(CORNERS))
    _maybe_lookalike(draft, needle)
    stem = pick(draft.rng, STEMS["position"]).format(needle.name)
    return lambda events: Question("position", stem, options, right, "", (number,))


def _direction(draft: Draft) -> Asker | None:
    shape = draft.claim_shape() if draft.room >= 1 else None
    if shape is None:
        return None
    needle = random_sticker(draft.rng, draft.split, shape=shape, moving=True)
    number = draft.add(needle, longest=3)
    options, right = shuffle_options(draft.rng, str(needle.direction), list(DIRECTIONS))
    stem = pick(draft.rng, STEMS["direction"]).format(needle.name)
    return lambda events: Question("direction", stem, options, right, "", (number,))


def _when(draft: Draft) -> Asker | None:
    shape = draft.claim_shape() if draft.room >= 1 else None
    if shape is None:
        return None
    own = draft.add(random_sticker(draft.rng, draft.split, shape=shape))

    def ask(events: list[Event]) -> Question:
        names = [e.needle.name for e in events]
        alone = [k for k, e in enumerate(events) if names.count(names[k]) == 1 and e.seconds <= 1]
        number = own if draft.rng.random() < 0.5 else int(draft.rng.choice([own, *alone]))
        event, last = events[number], max(e.end for e in events)
        apart = max(2.0, 0.04 * last)
        times = [e.start for e in events] + [float(t) for t in draft.rng.integers(0, max(9, int(last)), 24)]
        chosen = [event.start]
        for time in draft.rng.permutation(times):
            if all(abs(time - other) >= apart for other in chosen) and len(chosen) < OPTIONS:
                chosen.append(float(time))
        clocks = [format_clock(t) for t in chosen]
        options, right = shuffle_options(draft.rng, clocks[0], clocks)
        stem = pick(draft.rng, WHEN_STEMS[type(event.needle)]).format(event.needle.name)
        return Question("when", stem, options, right, "", (number,))

    return ask


def check_tasks(names: Sequence[str], known: Collection[str] | None = None) -> None:
    """Refuse what is not the name of a task.

    Args:
        names: those that were given.
        known: those that there are; `TASKS` where None.

    Raises:
        ValueError: a name is unknown, or there is none.
    """
    known = TASKS if known is None else known
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        raise ValueError(
            f"tasks must be names of the world's tasks, got {', '.join(unknown) or 'none'}: "
            f"choose from {', '.join(known)}"
        )


TASKS: dict[str, Task] = {
    "retrieval_edit": _retrieval("retrieval_edit", "word", WORDS, lambda d: random_caption(d.rng, d.split)),
    "retrieval_insert1": _retrieval(
        "retrieval_insert1", "item", ITEMS, lambda d: random_picture(d.rng, d.split)
    ),
    "retrieval_insert2": _retrieval(
        "retrieval_insert2", "landmark", LANDMARKS, lambda d: random_picture(d.rng, d.split, landmark=True)
    ),
    "ordering_edit": _ordering(
        "ordering_edit", "word", WORDS, lambda d, word: random_caption(d.rng, d.split, word=word)
    ),
    "ordering_insert1": _ordering(
        "ordering_insert1", "item", ITEMS, lambda d, item: random_picture(d.rng, d.split, subject=item)
    ),
    "ordering_insert2": _ordering(
        "ordering_insert2",
        "landmark",
        LANDMARKS,
        lambda d, name: random_picture(d.rng, d.split, subject=name),
    ),
    "counting_edit1": _count_appearances,
    "counting_edit2": _count_copies,
    "counting_insert": _count_pictures,
    "existence": _existence,
    "colour": _colour,
    "position": _position,
    "direction": _direction,
    "when": _when,
}
