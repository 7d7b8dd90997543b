"""A stream is remembered in bounded space, evenly, and can be asked at any time."""

import os
import threading
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image

from bvllm.inference.ask import answer, encode_video
from bvllm.inference.frame_slots import FrameSlots, HeldFrames
from bvllm.inference.loading import LoadedModel
from bvllm.inference.stream import StreamBuffer
from bvllm.inference.thinning import Thinning
from bvllm.video import FrameList, Limits, VideoError, VideoWarning
from tests.model import tiny
from tests.video.make import video as make_video

QUESTION = "which colour is the sign ?"


@pytest.mark.parametrize("most, recent", [(4, 1), (7, 3), (16, 4), (33, 8), (64, 32)])
def test_the_past_is_even_within_a_factor_of_two_and_the_newest_are_all_there(most, recent):
    thinning = Thinning(most, recent)
    kept: set[int] = set()
    for count in range(1, 1500):
        kept.add(count - 1)
        gone = thinning.add()
        if gone is not None:
            kept.remove(gone)
        assert thinning.kept == sorted(kept)
        assert len(kept) == min(count, most)
        assert kept.issuperset(range(max(0, count - recent), count))
        past = [number for number in sorted(kept) if number < count - recent]
        steps = [b - a for a, b in pairwise(past)]
        if steps:
            assert 0 in kept
            assert max(steps) <= 2 * min(steps)
            assert set(steps) <= {thinning.stride, 2 * thinning.stride}
            assert past[-1] >= count - recent - 1 - 2 * thinning.stride


@pytest.mark.parametrize("most, recent", [(3, 1), (8, 5), (8, 0)])
def test_a_memory_too_small_is_refused(most, recent):
    with pytest.raises(ValueError, match="must be at least"):
        Thinning(most, recent)


def test_a_memory_speaks_of_its_own_settings(loaded):
    for wrong in ({"max_frames": 0}, {"max_frames": 8, "recent": 5}):
        with pytest.raises(ValueError, match="max_frames must be at least 4, and twice"):
            StreamBuffer(loaded, **wrong)


def test_places_are_used_again_once_nobody_holds_them():
    slots = FrameSlots((4, 4))
    frames = tiny.frames(6, side=4)
    places = [slots.put(frame) for frame in frames[:3]]
    held = HeldFrames(slots, places)
    slots.let_go(places)
    again = [slots.put(frame) for frame in frames[3:]]
    assert len(slots) == 6
    assert torch.equal(held.get([2, 0]), frames[[2, 0]])
    held.close()
    assert slots.put(frames[0]) in places
    assert len(slots) == 6
    assert torch.equal(slots.get(again), frames[3:])
    with pytest.raises(ValueError, match=r"index must lie in 0\.\.2"):
        held.get([3])
    with pytest.raises(ValueError, match="frame must be uint8"):
        slots.put(frames[0].float())


def test_a_short_stream_is_what_the_same_frames_are_as_a_video(loaded):
    clip = FrameList(tiny.frames(37), [k * 0.5 for k in range(37)])
    whole = encode_video(FrameList(clip.frames[::2], clip.seconds[::2]), loaded)
    memory = StreamBuffer(loaded, max_frames=64)
    memory.watch(zip(clip.frames, [s + 1000 for s in clip.seconds]))
    seen = memory.snapshot()
    assert torch.equal(seen.seconds, whole.seconds)
    assert torch.equal(seen.frame_features, whole.frame_features)
    one, other = answer(seen, QUESTION, loaded), answer(whole, QUESTION, loaded)
    assert (one.text, one.frames) == (other.text, other.frames)


def test_a_long_stream_stays_small_and_remembers_its_beginning(loaded):
    memory = StreamBuffer(loaded, max_frames=20, fps=None)
    frames = tiny.frames(300, side=16)
    memory.watch(zip(frames, range(300)))
    seen = memory.snapshot()
    kept = [int(second) for second in seen.seconds]
    assert len(memory) == len(seen) == 20
    assert (kept[0], kept[-5:]) == (0, list(range(295, 300)))
    assert torch.equal(seen.store.get(range(20)), frames[kept])
    assert len(memory._slots) <= 22
    assert seen.report.warnings == (VideoWarning("stream", "280 of 300 frames were let go"),)
    assert answer(seen, QUESTION, loaded).frames_total == 20


def test_a_snapshot_stays_while_the_stream_goes_on(loaded):
    memory = StreamBuffer(loaded, max_frames=8, fps=None)
    frames = tiny.frames(60, side=16)
    memory.watch(zip(frames[:10], range(10)))
    seen = memory.snapshot()
    before = seen.store.get(range(8))
    memory.watch(zip(frames[10:], range(10, 60)))
    assert torch.equal(seen.store.get(range(8)), before)
    seen.close()
    assert len(memory.snapshot()) == 8


def test_pictures_of_any_kind_are_taken(loaded):
    memory = StreamBuffer(loaded, max_frames=8, fps=None)
    memory.add(Image.new("RGB", (30, 20), "red"), 5.0)
    memory.add(np.zeros((20, 30, 3), np.uint8), 6.0)
    memory.add(torch.zeros(3, 20, 30, dtype=torch.uint8), 7.5)
    seen = memory.snapshot()
    assert seen.seconds.tolist() == [0.0, 1.0, 2.5]
    assert (seen.info.width, seen.info.height) == (30, 20)


def test_what_makes_no_sense_is_refused(loaded):
    memory = StreamBuffer(loaded, max_frames=8)
    with pytest.raises(VideoError, match="must have given a frame"):
        memory.snapshot()
    memory.add(tiny.frames(1)[0], 1.0)
    with pytest.raises(VideoError, match="seconds must ascend"):
        memory.add(tiny.frames(1)[0], 1.0)
    with pytest.raises(VideoError, match="frame must be"):
        memory.add(tiny.frames(1), 2.0)
    with pytest.raises(ValueError, match="from its beginning"):
        memory.follow("video.ts")


def test_a_growing_file_ends_as_the_finished_one(tmp_path, loaded):
    """Written in pieces that end anywhere, in the middle of a frame, too."""
    data = make_video(120, fps=4, format="mpegts")
    path = tmp_path / "live.ts"
    written = 0

    def grow() -> bool:
        nonlocal written
        if written < len(data):
            written = min(len(data), written + len(data) // 5 + 1)
            path.write_bytes(data[:written])
        return False

    memory = StreamBuffer(loaded, max_frames=64)
    memory.follow(path, poll_seconds=0.0, patience_seconds=0.05, until=grow)
    seen, whole = memory.snapshot(), encode_video(path, loaded)
    assert len(whole) == 30
    assert torch.equal(seen.seconds, whole.seconds)
    assert torch.equal(seen.frame_features, whole.frame_features)


def test_a_file_that_makes_sense_only_when_finished_is_read_then(tmp_path, loaded):
    """The tables of most mp4 files stand at their end."""
    data, path = make_video(120, fps=4), tmp_path / "live.mp4"
    ends = iter([len(data) // 3, len(data) * 2 // 3, len(data)])

    def grow() -> bool:
        end = next(ends, None)
        if end is not None:
            path.write_bytes(data[:end])
        return False

    memory = StreamBuffer(loaded, max_frames=64)
    memory.follow(path, poll_seconds=0.0, patience_seconds=0.05, until=grow)
    seen, whole = memory.snapshot(), encode_video(path, loaded)
    assert torch.equal(seen.frame_features, whole.frame_features)
    assert seen.info == whole.info


def test_following_stops_when_told_and_what_was_read_can_be_asked(tmp_path, loaded):
    path = tmp_path / "live.ts"
    path.write_bytes(make_video(80, fps=4, format="mpegts"))
    memory = StreamBuffer(loaded, max_frames=64)
    memory.follow(path, poll_seconds=0.0, until=lambda: len(memory) == 12)
    assert len(memory) == 12
    assert answer(memory.snapshot(), QUESTION, loaded).frames_total == len(memory)


def test_a_finished_file_that_is_no_video_raises(tmp_path, loaded):
    (tmp_path / "live.ts").write_bytes(b"nothing to see")
    with pytest.raises(VideoError):
        StreamBuffer(loaded).follow(tmp_path / "live.ts", poll_seconds=0.0, patience_seconds=0.0)


def test_a_file_that_shrinks_is_another_file(tmp_path, loaded):
    path = tmp_path / "live.ts"
    path.write_bytes(make_video(40, fps=4, format="mpegts"))

    def cut() -> bool:
        path.write_bytes(path.read_bytes()[: -188 * 10])
        return False

    with pytest.raises(VideoError, match="file must only grow"):
        StreamBuffer(loaded).follow(path, poll_seconds=0.0, until=cut)


def test_one_thread_feeds_while_another_asks(loaded):
    memory = StreamBuffer(loaded, max_frames=16, fps=None)
    frames = tiny.frames(200, side=16)
    memory.add(frames[0], 0.0)
    feeder = threading.Thread(target=lambda: memory.watch(zip(frames[1:], range(1, 200))))
    feeder.start()
    for _ in range(5):
        seen = memory.snapshot()
        assert torch.equal(seen.store.get(range(len(seen))), frames[seen.seconds.long()])
        seen.close()
    feeder.join()
    assert memory.snapshot().seconds[-1] == 199


def test_closing_leaves_no_file_open(loaded):
    before = len(os.listdir("/proc/self/fd"))
    memory = StreamBuffer(loaded, max_frames=8)
    memory.add(tiny.frames(1)[0], 0.0)
    memory.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_look_that_was_interrupted_is_made_up_for(loaded, monkeypatch):
    memory, frames = StreamBuffer(loaded, fps=None), tiny.frames(20, side=16)
    real = LoadedModel.frame_features

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(LoadedModel, "frame_features", interrupted)
    with pytest.raises(KeyboardInterrupt):
        memory.watch((frame, float(second)) for second, frame in enumerate(frames))
    monkeypatch.setattr(LoadedModel, "frame_features", real)
    seen = memory.snapshot()
    assert len(seen.frame_features) == len(seen.seconds) == len(memory) > 0
    answer(seen, QUESTION, loaded)


def test_a_limit_ends_the_following_instead_of_blinding_it(tmp_path, loaded):
    path = tmp_path / "a.mp4"
    path.write_bytes(make_video(frames=40, fps=4))
    for limits in (Limits(max_seconds=5.0), Limits(max_decoded_frames=9), Limits(max_bytes=100)):
        memory = StreamBuffer(loaded)
        with pytest.raises(VideoError) as error:
            memory.follow(path, limits=limits, poll_seconds=0.01, patience_seconds=0.0)
        assert error.value.kind == "limit"


def test_a_snapshot_may_be_collected_while_its_places_are_in_use():
    """The garbage collector runs where it likes, also inside the store's own lock."""
    slots = FrameSlots((4, 4))
    held = HeldFrames(slots, [slots.put(frame) for frame in tiny.frames(2, side=4)])
    with slots._lock:
        held.close()
    assert len(slots) == 2


@pytest.mark.parametrize("bad", [torch.zeros(3, 8, 8), torch.zeros(0, 10, 3, dtype=torch.uint8)])
def test_a_refused_picture_leaves_its_second_to_the_next(loaded, bad):
    memory, good = StreamBuffer(loaded, max_frames=64), tiny.frames(1)[0]
    for start in (0.0, 2.0):
        with pytest.raises(VideoError):
            memory.add(bad, 100 + start)
        assert memory.add(good, 100.1 + start)
    assert memory.snapshot().seconds.tolist() == pytest.approx([0.0, 2.0])


def test_what_a_finished_file_lacks_is_told(tmp_path, loaded):
    whole = make_video(frames=80, fps=4, format="mpegts")
    for data, truncated in ((whole, False), (whole[: len(whole) * 2 // 3], True)):
        path = tmp_path / f"{len(data)}.ts"
        path.write_bytes(data)
        memory = StreamBuffer(loaded)
        memory.follow(path, poll_seconds=0.0, patience_seconds=0.0)
        told, wanted = memory.snapshot().report, encode_video(path, loaded).report
        assert (told.warnings, told.truncated, told.damaged) == (
            wanted.warnings,
            wanted.truncated,
            wanted.damaged,
        )
        assert bool(told.warnings or told.damaged) == truncated


def test_what_is_known_of_a_followed_file_in_the_end(tmp_path, loaded):
    path = tmp_path / "live.ts"
    path.write_bytes(make_video(frames=80, fps=4, format="mpegts"))
    memory = StreamBuffer(loaded)
    memory.follow(path, poll_seconds=0.0, patience_seconds=0.0)
    info = memory.snapshot().info
    assert (info.duration_seconds, info.bytes) == (20.0, path.stat().st_size)
