"""Every answer is worked out once more, from nothing but the question's text and what the video shows."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bvllm.data.chat import format_clock
from bvllm.synthetic.draft import Draft, shuffle_options
from bvllm.synthetic.needles import Caption, Event, Picture, Sticker
from bvllm.synthetic.tasks import ORDERED, TASKS, check_tasks
from bvllm.synthetic.vocabulary import ITEMS, LANDMARKS, WORDS
from tests.synthetic.plans import by_time, plans, subject
from tests.test_messages import HOUSE

NAMES = {"edit": WORDS, "insert1": ITEMS, "insert2": LANDMARKS}


def named(timeline, question):
    """Every event that shows what the question names, oldest first."""
    return [event for event in by_time(timeline) if event.needle.name == subject(question.stem)]


def only(answers):
    """The one answer that all of them give: another would make the question ambiguous."""
    [answer] = set(answers)
    return answer


def retrieval(timeline, question):
    kind = NAMES[question.task.split("_")[1]]
    asked = [event for event in timeline.events if event.needle.name in kind]
    return asked, only(event.needle.name for event in asked)


def ordering(timeline, question):
    kind = NAMES[question.task.split("_")[1]]
    asked = [event for event in by_time(timeline) if event.needle.name in kind]
    assert len(asked) == ORDERED
    return asked, ", ".join(event.needle.name for event in asked)


def counting(timeline, question):
    asked = named(timeline, question)
    times = [format_clock(event.start) for event in asked]
    copies = [len(event.needle.corners) if isinstance(event.needle, Sticker) else 1 for event in asked]
    if question.task == "counting_edit2":
        times = [f"{time} {number}" for time, number in zip(times, copies)]
    else:
        assert set(copies) == {1}
    assert {event.seconds for event in asked} == {1.0}
    return asked, f"{', '.join(times)} = {sum(copies)}"


def existence(timeline, question):
    asked = named(timeline, question)
    return asked, f"{format_clock(asked[0].start)} = yes" if asked else "no"


def colour(timeline, question):
    shape = subject(question.stem)
    asked = [e for e in timeline.events if isinstance(e.needle, Sticker) and e.needle.shape == shape]
    return asked, only(event.needle.colour for event in asked)


def position(timeline, question):
    asked = named(timeline, question)
    assert all(event.needle.direction is None for event in asked)
    return asked, only(corner for event in asked for corner in event.needle.corners)


def direction(timeline, question):
    asked = named(timeline, question)
    return asked, only(event.needle.direction for event in asked)


def when(timeline, question):
    asked = named(timeline, question)
    return asked, only(format_clock(event.start) for event in asked)


WORKED = {
    "retrieval": retrieval,
    "ordering": ordering,
    "counting": counting,
    "existence": existence,
    "colour": colour,
    "position": position,
    "direction": direction,
    "when": when,
}


@pytest.mark.parametrize("task", TASKS)
@settings(max_examples=60)
@given(data=st.data())
def test_the_answer_follows_from_the_video(task, data):
    timeline = data.draw(plans(task))
    assert timeline.questions[0].task == task
    for question in timeline.questions:
        asked, answer = WORKED[question.task.split("_")[0]](timeline, question)
        assert question.answer == answer
        if question.task in ("retrieval_edit", "colour", "position", "direction", "when"):
            assert len(asked) == 1
        assert sorted(question.needles) == sorted(timeline.events.index(event) for event in asked)


@given(plans())
def test_options_are_distinct_and_hold_the_answer(timeline):
    for question in timeline.questions:
        assert 0 <= question.right < len(question.options)
        assert len(set(question.options)) == len(question.options)
        if question.task == "existence":
            assert set(question.options) == {"yes", "no"}
        elif question.task == "when":  # a short video may have no room for a fourth time
            assert 2 <= len(question.options) <= 4
        else:
            assert len(question.options) == 4
        assert question.answer.endswith(question.options[question.right])


def test_the_right_answer_stands_everywhere():
    rng = np.random.default_rng(0)
    places = [shuffle_options(rng, "right", ["a", "b", "c", "d", "right"]) for _ in range(400)]
    assert all(options[at] == "right" and len(set(options)) == 4 for options, at in places)
    count = np.bincount([at for _, at in places], minlength=4)
    assert (count > 60).all()


def an_absent_needle(seed):
    """A draft of one existence question about something that is not there, and a needle of that name."""
    draft = Draft(np.random.default_rng(seed), "train", room=4, longest=1)
    ask = TASKS["existence"](draft)
    if draft.needles:
        return None
    [name] = [claim.removeprefix("absent ") for claim in draft.claimed]
    if name in WORDS:
        return ask, Caption(name, "red")
    if name in ITEMS + LANDMARKS:
        return ask, Picture(name, "red")
    shade, shape = name.split()
    return ask, Sticker(shape, shade, ("middle",))


def test_what_a_later_task_shows_is_not_called_absent():
    found = [made for seed in range(40) if (made := an_absent_needle(seed)) is not None]
    assert {type(needle) for _, needle in found} == {Sticker, Caption, Picture}
    for ask, needle in found:
        question = ask([Event(needle, 3.0, 1.0)])
        assert question.answer == "00:03 = yes"
        assert question.needles == (0,)


def test_what_nobody_shows_is_absent():
    for ask, needle in filter(None, map(an_absent_needle, range(20))):
        other = replace(needle, shape="blob") if isinstance(needle, Sticker) else Sticker("blob", "red", ())
        question = ask([Event(other, 3.0, 1.0)])
        assert question.answer == "no"
        assert question.needles == ()


@pytest.mark.parametrize("task", ["colour", "retrieval_edit", "counting_insert", "when"])
def test_a_task_without_room_passes(task):
    draft = Draft(np.random.default_rng(0), "train", room=0, longest=1)
    assert TASKS[task](draft) is None
    assert not draft.needles


def test_one_kind_serves_one_question():
    draft = Draft(np.random.default_rng(0), "train", room=12, longest=1)
    assert TASKS["retrieval_edit"](draft) is not None
    assert TASKS["ordering_edit"](draft) is None
    colours = [TASKS["colour"](draft) for _ in range(9)]
    assert [ask is None for ask in colours] == [False] * 8 + [True]


@pytest.mark.parametrize("names", [["colour", "color"], []])
def test_unknown_tasks_are_refused(names):
    with pytest.raises(ValueError, match=HOUSE.pattern) as error:
        check_tasks(names)
    assert "retrieval_edit" in str(error.value)
