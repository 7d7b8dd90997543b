"""Haystacks: any frame at any time, the same whoever asks."""

import itertools

import numpy as np
import pytest

from bvllm.synthetic.footage import CLIPS_AT_A_TIME, CUT_SECONDS, FootageHaystack, _load
from bvllm.synthetic.haystack import DrawnHaystack, draw_scene
from tests.synthetic.clips import write_clip
from tests.test_messages import HOUSE

SIZE = (64, 48)
TIMES = [0.0, 0.1, 7.3, 14.9, 90.0, 136.0, 600.5]


def shots(haystack, times):
    return [np.asarray(haystack.frame(time)) for time in times]


def equal(some, others):
    return all((a == b).all() for a, b in zip(some, others))


def test_the_same_seed_shows_the_same_whatever_the_order():
    forward = shots(DrawnHaystack(5, SIZE), TIMES)
    draw_scene.cache_clear()
    backward = shots(DrawnHaystack(5, SIZE), TIMES[::-1])[::-1]
    assert equal(forward, backward)


def test_another_seed_shows_something_else():
    assert not equal(shots(DrawnHaystack(5, SIZE), TIMES[:2]), shots(DrawnHaystack(6, SIZE), TIMES[:2]))


@pytest.mark.parametrize("time", [3599.9, 3600.0, 36_000.0])
def test_an_hour_in_there_is_still_footage(time):
    picture = DrawnHaystack(1, SIZE).frame(time)
    assert picture.size == SIZE
    assert picture.mode == "RGB"
    assert np.asarray(picture).std() > 2


def test_scenes_follow_each_other_and_none_is_left_out():
    haystack = DrawnHaystack(3, SIZE)
    seen = [haystack._scene_at(t / 4) for t in range(4 * 600)]
    numbers = [scene for scene, _ in seen]
    assert numbers == sorted(numbers)
    assert set(numbers) == set(range(numbers[-1] + 1))
    assert all(0 <= age < 20 for _, age in seen)
    assert 30 <= numbers[-1] <= 200  # 600 s of scenes of 3 to 14 s, give or take


def test_a_scene_moves_on_where_neighbouring_frames_are_alike():
    haystack = DrawnHaystack(9, SIZE)
    cut = next(t for t in range(1, 999) if haystack._scene_at(t / 10)[0] == 1) / 10
    before, near, after = (picture.astype(float) for picture in shots(haystack, [cut - 0.3, cut - 0.2, cut]))
    assert np.abs(near - before).mean() < np.abs(after - near).mean()


@pytest.fixture(scope="module")
def footage(tmp_path_factory):
    folder = tmp_path_factory.mktemp("footage")
    write_clip(folder / "reds.mp4", [(40 * k, 0, 0) for k in range(1, 7)])
    write_clip(folder / "blues.mp4", [(0, 0, 40 * k) for k in range(1, 7)])
    (folder / "notes.txt").write_text("not a clip")
    (folder / "broken.mp4").write_bytes(b"not a clip either")
    return folder


def test_footage_is_made_of_the_clips_and_nothing_else(footage):
    haystack = FootageHaystack(footage, 1, SIZE)
    assert len(haystack.clips) == 2
    kept = {frame.tobytes() for clip in haystack.clips for frame in _load(clip, SIZE)}
    pictures = [haystack.frame(t / 2) for t in range(200)]
    assert {picture.size for picture in pictures} == {SIZE}
    assert {picture.tobytes() for picture in pictures} == kept


def test_few_clips_are_in_memory_however_many_there_are(tmp_path):
    for k in range(CLIPS_AT_A_TIME + 3):
        write_clip(tmp_path / f"{k}.mp4", [(30 * k, 0, 0)] * 2)
    haystack, seen = FootageHaystack(tmp_path, 1, SIZE), set()
    for piece in range(60):
        seen.add(round(int(np.asarray(haystack.frame(piece * CUT_SECONDS)).max()) / 30))
        assert _load.cache_info().currsize <= CLIPS_AT_A_TIME
    assert len(seen) == len(haystack.clips) == CLIPS_AT_A_TIME + 3


def test_footage_is_the_same_whatever_the_order(footage):
    forward = shots(FootageHaystack(footage, 4, SIZE), TIMES)
    backward = shots(FootageHaystack(footage, 4, SIZE), TIMES[::-1])[::-1]
    assert equal(forward, backward)


def test_a_clip_runs_to_its_end_and_back(footage):
    haystack = FootageHaystack(footage, 4, SIZE)
    levels = [int(np.asarray(haystack.frame(t / 4)).max()) for t in range(int(4 * CUT_SECONDS))]
    assert max(abs(b - a) for a, b in itertools.pairwise(levels)) < 60  # one step of a clip, never a jump
    assert max(levels) - min(levels) > 150


def test_a_folder_without_clips_is_refused(tmp_path):
    (tmp_path / "broken.mp4").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=HOUSE.pattern):
        FootageHaystack(tmp_path, 0, SIZE)
    with pytest.raises(ValueError, match="haystack must be a folder"):
        FootageHaystack(tmp_path / "nowhere", 0, SIZE)
