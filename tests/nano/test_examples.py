"""Training examples: a question, and what every frame of its video shows."""

import itertools

import numpy as np
import pytest

from bvllm.data.chat import LETTERS, parse_letter, split_options
from bvllm.nano.examples import LIST_STEMS, WEIGHTS, examples, frames_of, list_all
from bvllm.synthetic.needles import Caption, Event
from bvllm.synthetic.tasks import TASKS
from tests.nano.handmade import ABSENT, BOTH, TIMELINE, example


def take(count, *, seed=3, seconds=(8, 600)):
    return list(itertools.islice(examples("train", seconds, seed), count))


def test_frames_of_an_event_are_its_whole_seconds():
    assert list(frames_of(Event(Caption("river", "red"), 7.0, 2.0))) == [7, 8]


def test_which_frames_are_asked_for():
    assert example().frames == 10
    assert (example().asked_frames(), example().other_frames()) == ([2], [7, 8])
    assert (example(BOTH).asked_frames(), example(BOTH).other_frames()) == ([2, 7, 8], [])
    assert (example(ABSENT).asked_frames(), example(ABSENT).other_frames()) == ([], [2, 7, 8])


def test_a_question_with_options_is_answered_with_a_letter():
    one = example()
    assert one.prompt == "which colour is the star?\nA. blue\nB. red"
    assert one.reply == "red (B)"
    assert example(BOTH).reply == "00:02 = yes (A)"


def test_a_question_without_options_is_answered_in_words():
    one = example(with_options=False)
    assert (one.prompt, one.reply) == ("which colour is the star?", "red")


def test_a_listing_tells_everything_in_order():
    listing = list_all(TIMELINE, np.random.default_rng(0))
    assert listing.answer == "00:02 one red star top left, 00:07 word river"
    assert listing.needles == (1, 0)
    assert listing.stem in LIST_STEMS


def test_the_same_seed_gives_the_same_examples():
    assert take(20) == take(20)
    assert take(20) != take(20, seed=4)


def test_examples_are_mixed_as_they_should_be():
    made = take(600)
    assert {e.question.task for e in made} == {*TASKS, "listing"}
    assert all(8 <= e.frames <= 600 for e in made)
    assert np.mean([e.frames < 70 for e in made]) == pytest.approx(0.5, abs=0.15)  # log-uniform
    asked = [e for e in made if e.question.task != "listing"]
    lettered = [e for e in asked if parse_letter(e.reply)]
    assert len(lettered) / len(asked) == pytest.approx(0.75, abs=0.06)
    for e in lettered:
        stem, options = split_options(e.prompt)
        assert (stem, tuple(options)) == (e.question.stem, e.question.options)
        assert LETTERS.index(parse_letter(e.reply)) == e.question.right


def test_weights_are_of_tasks_that_there_are():
    assert set(WEIGHTS) <= set(TASKS)
