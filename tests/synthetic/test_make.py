"""The world on disk: small real videos, written and read back."""

from itertools import zip_longest

import av
import numpy as np
import pytest

from bvllm.data.chat import LETTERS, join_options, read_rows
from bvllm.synthetic import make_world
from bvllm.synthetic.draw import draw_needle
from bvllm.synthetic.haystack import DrawnHaystack
from bvllm.synthetic.make import FRAME_RATE, write_video
from bvllm.synthetic.needles import Caption, Event, Picture, Sticker
from bvllm.synthetic.timeline import Timeline
from bvllm.video import SamplingPlan, read_video
from tests.synthetic.clips import write_clip
from tests.test_messages import HOUSE

SIDE, SECONDS = 64, 8
GREY = 128


def make(out, **changes):
    settings = {"split": "val", "count": 2, "seconds": (SECONDS, SECONDS), "seed": 3, "size": (SIDE, SIDE)}
    return make_world(out, **{"workers": 1, **settings, **changes})


def decoded(path, fps=float(FRAME_RATE)):
    """(T, H, W, 3) frames and their seconds."""
    with read_video(path, SamplingPlan(fps=fps)) as stream:
        chunks = list(stream)
    frames = np.concatenate([chunk.pixels.permute(0, 2, 3, 1).numpy() for chunk in chunks])
    return frames.astype(int), np.concatenate([chunk.seconds.numpy() for chunk in chunks])


def differences(one, other):
    """What tells two worlds apart, in words: their rows, their videos, their pixels."""
    told = [
        f"row {k}: {a} | {b}"
        for k, (a, b) in enumerate(zip_longest(*(path.read_text().splitlines() for path in (one, other))))
        if a != b
    ]
    names, others = (
        sorted(path.name for path in (path.parent / "videos").iterdir()) for path in (one, other)
    )
    if names != others:
        return [*told, f"videos: {names} | {others}"]
    for name in names:
        a, b = (decoded(path.parent / "videos" / name)[0] for path in (one, other))
        if a.shape != b.shape:
            told.append(f"{name}: {a.shape} | {b.shape}")
        elif not np.array_equal(a, b):
            frames = np.flatnonzero((a != b).any(axis=(1, 2, 3))).tolist()
            told.append(f"{name}: frames {frames} by up to {np.abs(a - b).max()}")
    return told


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make(tmp_path_factory.mktemp("world"))


def test_the_same_arguments_make_the_same_world(made, tmp_path):
    assert differences(made, make(tmp_path)) == []


def test_the_number_of_workers_changes_nothing(made, tmp_path):
    assert differences(made, make(tmp_path, workers=2)) == []


def test_another_seed_makes_another_world(made, tmp_path):
    assert made.read_bytes() != make(tmp_path, seed=4, count=1).read_bytes()


def test_rows_say_what_they_must(made):
    rows = read_rows(made)
    assert made.name == "val.jsonl"
    assert len({row.id for row in rows}) == len(rows) >= 4
    assert {row.video for row in rows} == {f"videos/val_3_0000{k}.mp4" for k in range(2)}
    for row in rows:
        assert (row.split, row.seconds) == ("val", SECONDS)
        video, text = row.messages[0].content
        assert (video.type, video.path) == ("video", row.video)
        assert text.text == join_options(row.question, row.options)
        assert row.messages[1].content[0].text == f"{row.open_answer} ({row.answer})"
        assert row.open_answer.endswith(row.options[LETTERS.index(row.answer)])
        assert all(0 <= needle.start < needle.end <= SECONDS for needle in row.needles)


def test_tasks_take_turns(made):
    """Four questions a video: the second video begins with the fifth task."""
    rows = read_rows(made)
    assert rows[0].task == "retrieval_edit"
    assert next(row for row in rows if row.video.endswith("1.mp4")).task == "ordering_insert1"


def test_the_video_is_what_was_asked_for(made):
    with av.open(str(made.parent / "videos" / "val_3_00000.mp4")) as container:
        [stream] = container.streams
        assert (stream.codec_context.name, stream.width, stream.height) == ("h264", SIDE, SIDE)
        assert stream.frames == SECONDS * FRAME_RATE
        assert float(stream.duration * stream.time_base) == SECONDS


def test_needles_can_be_seen_at_their_times(tmp_path):
    """In a haystack of one even grey, whatever is not grey is a needle."""
    clips = tmp_path / "clips"
    clips.mkdir()
    write_clip(clips / "grey.mp4", [(GREY, GREY, GREY)] * 4)
    seen = []
    for row in read_rows(make(tmp_path / "out", haystack=clips, count=3, seed=8)):
        frames, seconds = decoded(tmp_path / "out" / row.video)
        marked = (np.abs(frames - GREY) > 60).any(axis=3).mean(axis=(1, 2)) > 0.02
        assert 0.05 < marked.mean() < 0.95
        for needle in row.needles:
            here = (seconds >= needle.start - 1e-6) & (seconds < needle.end - 1e-6)
            assert here.sum() == (needle.end - needle.start) * FRAME_RATE
            assert marked[here].all()
            seen.append(needle)
    assert len(seen) > 5


def test_a_video_shows_each_needle_over_its_haystack(tmp_path):
    events = (
        Event(Sticker("star", "red", ("top left",)), 1.0, 1.0),
        Event(Caption("zebra", "yellow"), 3.0, 1.0),
        Event(Picture("boat", "green"), 5.0, 2.0),
        Event(Sticker("circle", "cyan", ("middle",), direction="left"), 7.0, 1.0),
    )
    timeline, haystack = Timeline(8.0, events, ()), DrawnHaystack(2, (96, 64))
    write_video(tmp_path / "a.mp4", timeline, haystack, (96, 64))
    frames, seconds = decoded(tmp_path / "a.mp4")
    assert np.allclose(seconds, np.arange(80) / FRAME_RATE)
    for frame, second in zip(frames, seconds):
        wanted = haystack.frame(float(second))
        event = timeline.shown_at(float(second))
        if event is not None:
            wanted = draw_needle(wanted, event.needle, (float(second) - event.start) / event.seconds)
        assert np.abs(frame - np.asarray(wanted)).mean() < 14  # what the codec costs


def test_a_world_that_is_interrupted_has_no_rows(tmp_path):
    def stop(done, count):
        raise RuntimeError(f"stopped after {done} of {count}")

    with pytest.raises(RuntimeError, match="stopped after 1 of 2"):
        make(tmp_path, progress=stop)
    assert not list(tmp_path.glob("*.jsonl*"))


def test_a_video_that_is_interrupted_is_not_there(tmp_path):
    class Torn:
        def frame(self, time):
            if time > 1:
                raise OSError("no more tape")
            return DrawnHaystack(0, (SIDE, SIDE)).frame(time)

    with pytest.raises(OSError, match="no more tape"):
        write_video(tmp_path / "a.mp4", Timeline(8.0, (), ()), Torn(), (SIDE, SIDE))
    assert not list(tmp_path.glob("*.mp4"))


def test_progress_is_told(tmp_path):
    told = []
    make(tmp_path, progress=lambda done, count: told.append((done, count)))
    assert told == [(1, 2), (2, 2)]


@pytest.mark.parametrize(
    "wrong, names",
    [
        ({"split": "dev"}, "split"),
        ({"count": 0}, "count"),
        ({"questions": 0}, "questions"),
        ({"workers": 0}, "workers"),
        ({"seconds": (7, 9)}, "seconds"),
        ({"seconds": (30, 20)}, "seconds"),
        ({"seconds": (8, 1e9)}, "seconds"),
        ({"size": (65, 64)}, "size"),
        ({"size": (64, 32)}, "size"),
        ({"tasks": ["color"]}, "tasks"),
        ({"tasks": []}, "tasks"),
    ],
)
def test_arguments_out_of_range_are_refused_before_any_work(tmp_path, wrong, names):
    with pytest.raises(ValueError, match=HOUSE.pattern) as error:
        make(tmp_path / "out", **wrong)
    assert str(error.value).startswith(names)
    assert not (tmp_path / "out").exists()


def test_a_haystack_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ValueError, match="haystack must be a folder"):
        make(tmp_path / "out", haystack=tmp_path / "nowhere")
    assert not (tmp_path / "out").exists()
