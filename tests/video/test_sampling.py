"""Which frames are kept, and when they are shown."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bvllm.video import Limits, SamplingPlan
from bvllm.video.decode import Clock, FrameClock
from bvllm.video.sampling import Picker

GAPS = st.lists(st.floats(0.001, 5.0), min_size=1, max_size=60)


def picked(plan: SamplingPlan, seconds: list[float], end: float, planned: int | None = None) -> list[int]:
    picker = Picker(plan, planned)
    kept = [index for index, second in enumerate(seconds) if picker.take(index, second)]
    last = len(seconds) - 1
    if picker.close(end, can_stand_in=last not in kept):
        kept.append(last)
    assert picker.got == len(kept) <= picker.asked
    return kept


def by_definition(fps: float, seconds: list[float], end: float) -> list[int]:
    """Each target k/fps below the end takes the first frame at or after it, or else the last frame."""
    kept = []
    for k in range(max(1, math.ceil(end * fps - 1e-6 * fps))):
        after = [index for index, second in enumerate(seconds) if second >= k / fps - 1e-6]
        kept.append(after[0] if after else len(seconds) - 1)
    return sorted(set(kept))


@given(GAPS, st.sampled_from([0.1, 0.5, 1.0, 3.0, 29.97]))
def test_the_picker_does_what_the_definition_says(gaps, fps):
    seconds = [sum(gaps[:k]) for k in range(len(gaps))]
    assert picked(SamplingPlan(fps), seconds, sum(gaps)) == by_definition(fps, seconds, sum(gaps))


@given(st.integers(1, 300), st.integers(1, 40))
def test_a_cap_keeps_the_middles_of_equal_parts(frames, cap):
    kept = picked(SamplingPlan(None, cap), [float(k) for k in range(frames)], frames, planned=frames)
    assert kept == (
        [(2 * j + 1) * frames // (2 * cap) for j in range(cap)] if frames > cap else list(range(frames))
    )


@given(st.integers(1, 40), st.integers(0, 30))
def test_a_cap_holds_even_if_the_header_lied(cap, planned):
    assert len(picked(SamplingPlan(None, cap), [float(k) for k in range(100)], 100.0, planned)) <= cap


def test_the_last_frame_stands_in_only_within_the_video():
    seconds = [0.0, 0.4, 0.8]
    assert picked(SamplingPlan(1.0), seconds, end=1.2) == [0, 2]
    assert picked(SamplingPlan(1.0), seconds, end=1.0) == [0]


def test_the_number_of_targets():
    assert SamplingPlan(1.0).targets(300, 10.0) == 10
    assert SamplingPlan(1.0).targets(1, 0.04) == 1
    assert SamplingPlan(2.0).targets(300, 10.1) == 21
    assert SamplingPlan(None).targets(300, 10.0) == 300
    assert SamplingPlan(1.0).targets(0, 0.0) == 0


@given(st.lists(st.none() | st.floats(-1e6, 1e6), max_size=80), st.sampled_from([None, 0.0, 25.0, 1e9]))
def test_seconds_ascend_whatever_the_clock_says(raw, rate):
    timeline = FrameClock(rate)
    seconds = [timeline.place(second) for second in raw]
    assert seconds == sorted(seconds)
    assert not seconds or seconds[0] == 0.0
    assert len(set(seconds)) == len(seconds)
    assert timeline.substituted >= sum(second is None for second in raw)


@given(GAPS)
def test_a_good_clock_is_left_alone(gaps):
    raw = [7.0 + sum(gaps[:k]) for k in range(len(gaps))]
    timeline = FrameClock(30.0)
    assert [timeline.place(second) for second in raw] == pytest.approx([second - 7.0 for second in raw])
    assert timeline.substituted == 0


def test_a_clock_that_never_moves_runs_at_the_stream_s_rate():
    timeline = FrameClock(10.0)
    assert [timeline.place(3.0) for _ in range(4)] == pytest.approx([0.0, 0.1, 0.2, 0.3])
    assert timeline.substituted == 3


def test_pairs_that_share_a_time_are_spread_between_their_neighbours():
    timeline = FrameClock(20.0)
    raw = [0.0, 0.0, 0.1, 0.1, 0.2, 0.2]
    assert [timeline.place(second) for second in raw] == pytest.approx([0.0, 0.05, 0.1, 0.15, 0.2, 0.25])


def test_a_clock_that_was_restarted_goes_on():
    timeline = FrameClock(10.0)
    raw = [100.0, 100.1, 0.0, 0.1, 0.2]
    assert [timeline.place(second) for second in raw] == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4])


def test_frames_before_the_first_reading_are_counted_back_from_it():
    timeline = FrameClock(10.0)
    raw = [None, None, 5.0, 5.5]
    assert [timeline.place(second) for second in raw] == pytest.approx([0.0, 0.1, 0.2, 0.7])


def test_a_paused_clock_stands_still():
    clock = Clock()
    clock.pause()
    before = clock.seconds()
    assert clock.seconds() == before
    clock.resume()
    while clock.seconds() == before:
        pass
    assert clock.seconds() > before


@pytest.mark.parametrize("options, message", [
    ({"fps": 0.0}, "fps must be positive, got 0.0"),
    ({"fps": math.nan}, "fps must be positive, got nan"),
    ({"max_frames": 0}, "max_frames must be at least 1, got 0"),
])  # fmt: skip
def test_wrong_plans_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        SamplingPlan(**options)


@pytest.mark.parametrize("name", [n for n in Limits.__dataclass_fields__ if n != "root"])
def test_wrong_limits_are_refused(name):
    for value in (0, -1, math.inf, math.nan):
        with pytest.raises(ValueError, match=f"{name} must be positive and finite, got {value}"):
            Limits(**{name: value})


@pytest.mark.parametrize(
    "start, end", [(-1.0, None), (5.0, 5.0), (5.0, 4.0), (math.inf, None), (0.0, math.nan)]
)
def test_a_part_must_have_a_length(start, end):
    with pytest.raises(ValueError, match="end must be after start"):
        SamplingPlan(start=start, end=end)


def test_targets_of_a_part_begin_at_its_start():
    picker = Picker(SamplingPlan(fps=1.0, start=2.5, end=5.0))
    times = [k / 2 for k in range(14)]
    assert [time for k, time in enumerate(times) if picker.take(k, time)] == [2.5, 3.5, 4.5]
    assert not picker.close(7.0, can_stand_in=True)
    assert (picker.asked, picker.got) == (3, 3)
