"""The plan of a video: needles in their places, questions as they were wanted."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bvllm.synthetic.tasks import TASKS
from bvllm.synthetic.timeline import GAP_SHARE, LONG, MOST_EVENTS, plan_video
from tests.synthetic.plans import by_time, lengths, plan, plans, seeds
from tests.test_messages import HOUSE


@given(plans())
def test_events_never_overlap_and_lie_inside_the_video(timeline):
    events = by_time(timeline)
    # A question that is rightly answered "no" may be asked of a video that shows nothing.
    assert any(q.needles for q in timeline.questions) <= len(events) <= MOST_EVENTS
    assert all(0 <= event.start < event.end <= timeline.seconds for event in events)
    assert all(first.end <= second.start for first, second in itertools.pairwise(events))


@given(plans())
def test_events_begin_on_whole_seconds_and_last_whole_seconds(timeline):
    for event in timeline.events:
        assert event.start == int(event.start)
        assert event.seconds in ((1, 2, 3) if timeline.seconds >= LONG else (1,))


@given(seeds, st.integers(LONG, 3600))
def test_needles_of_a_long_video_keep_their_distance(seed, seconds):
    events = by_time(plan(seed, seconds, questions=5))
    gaps = [second.start - first.end for first, second in itertools.pairwise(events)]
    assert min(gaps, default=math.inf) >= int(seconds * GAP_SHARE)


@given(plans())
def test_one_event_is_shown_at_a_time(timeline):
    for event in timeline.events:
        assert timeline.shown_at(event.start) is event
        assert timeline.shown_at(event.end - 0.01) is event
        assert timeline.shown_at(event.end) is not event
    assert timeline.shown_at(timeline.seconds) is None


@given(seeds, lengths, st.integers(1, 6))
def test_tasks_are_asked_once_each_in_the_order_wanted(seed, seconds, questions):
    wanted = [str(t) for t in np.random.default_rng(seed).permutation(list(TASKS))]
    timeline = plan_video(np.random.default_rng(seed), "train", float(seconds), wanted, questions=questions)
    asked = [question.task for question in timeline.questions]
    assert 1 <= len(asked) <= questions
    assert asked == [task for task in wanted if task in asked]


@given(seeds, lengths)
def test_the_same_seed_plans_the_same(seed, seconds):
    assert plan(seed, seconds) == plan(seed, seconds)


def test_another_seed_plans_something_else():
    assert len({plan(seed, 60).events for seed in range(20)}) == 20


def test_needles_come_everywhere_in_a_video():
    starts = np.array([event.start for seed in range(60) for event in plan(seed, 600).events])
    assert starts.min() < 60
    assert starts.max() > 540
    assert abs(starts.mean() - 300) < 40


def test_there_are_needles_that_nobody_asks_about():
    asked = [
        {k for question in timeline.questions for k in question.needles} < set(range(len(timeline.events)))
        for timeline in (plan(seed, 600, questions=1) for seed in range(30))
    ]
    assert sum(asked) > 15


@pytest.mark.parametrize("seconds", [7.9, 0.0, -1.0, math.nan])
def test_a_video_too_short_is_refused(seconds):
    with pytest.raises(ValueError, match=HOUSE.pattern) as error:
        plan_video(np.random.default_rng(0), "train", seconds, ["colour"])
    assert "seconds must be at least 8" in str(error.value)


def test_unknown_tasks_are_refused():
    with pytest.raises(ValueError, match="got color: choose from retrieval_edit"):
        plan_video(np.random.default_rng(0), "train", 60, ["color"])
