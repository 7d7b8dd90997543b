"""A file that is being written gives, read once as it grows, what the finished one gives."""

import os
import random
import time
from itertools import chain, repeat

import pytest
import torch

from bvllm.video import Abandoned, GrowingFile, Limits, SamplingPlan, VideoError, mp4, mp4_growing, read_video
from bvllm.video.safe_open import View
from tests.video import make

FRAGMENTS = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
KINDS = {
    "mpegts": {"format": "mpegts"},
    "matroska": {"format": "matroska"},
    "webm": {"format": "webm", "codec": "libvpx-vp9"},
    "flv": {"format": "flv"},
    "fragmented mp4": {"format": "mp4", **FRAGMENTS},
    "B-frames": {"format": "mpegts", "b_frames": 2},
}


class Writer:
    """Writes a piece of a file each time it is asked whether to go on; pieces end anywhere."""

    def __init__(self, path, data, pieces=7, seed=0):
        cuts = sorted(random.Random(seed).sample(range(1, len(data)), pieces - 1))
        self.path, self.ends = path, iter([*cuts, len(data)])
        self.data, self.left = data, pieces

    def __call__(self):
        end = next(self.ends, None)
        if end is not None:
            self.path.write_bytes(self.data[:end])
            self.left -= 1
        return False


def read(source, frames=None, **plan):
    """([(seconds, picture), ...], report) of everything a source gives; `frames` has them as they come."""
    frames = [] if frames is None else frames
    with read_video(source, SamplingPlan(**{"fps": 2.0, **plan}), chunk=1) as video:
        for chunk in video:
            frames.append((float(chunk.seconds[0]), chunk.pixels[0]))
        return frames, video.report


def growing(path, until=lambda: False, **settings):
    return GrowingFile(path, **{"poll_seconds": 0.0, "patience_seconds": 0.02, "until": until, **settings})


def same(some, others):
    return len(some) == len(others) and all(
        a == b and torch.equal(one, other) for (a, one), (b, other) in zip(some, others)
    )


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", KINDS)
def test_it_gives_what_the_finished_file_gives_and_decodes_each_frame_once(tmp_path, name, seed):
    data, path = make.video(100, fps=10, **KINDS[name]), tmp_path / "live"
    writer = Writer(path, data, pieces=5 + seed * 20, seed=seed)
    frames, report = read(growing(path, writer))
    whole, wanted = read(path)
    assert writer.left == 0
    assert same(frames, whole)
    assert len(frames) == 20
    assert report == wanted
    assert (report.decoded, report.warnings) == (100, ())


@pytest.mark.parametrize("name", ["mpegts", "matroska", "fragmented mp4"])
def test_frames_come_while_the_file_is_written(tmp_path, name):
    """With two thirds of the bytes there are at least half of the frames, and none that is torn."""
    data, path = make.video(120, fps=10, gop=10, **KINDS[name]), tmp_path / "live"
    path.write_bytes(data)
    whole, _ = read(path)
    path.write_bytes(data[: len(data) * 2 // 3])
    frames, looks = [], chain(repeat(False, 50), repeat(True))
    with pytest.raises(Abandoned):
        read(growing(path, lambda: next(looks), patience_seconds=60.0), frames)
    assert len(whole) // 2 <= len(frames) <= len(whole) * 2 // 3
    assert same(frames, whole[: len(frames)])


@pytest.mark.parametrize("name", ["mpegts", "matroska", "fragmented mp4"])
def test_one_that_was_left_in_the_middle_says_so_as_the_plain_reader_does(tmp_path, name):
    data, path = make.video(100, fps=10, **KINDS[name]), tmp_path / "live"
    data = data[: len(data) * 2 // 3 + 1]
    frames, report = read(growing(path, Writer(path, data)))
    whole, wanted = read(path)
    assert same(frames, whole)
    assert (report.warnings, report.truncated) == (wanted.warnings, wanted.truncated)
    assert report.warnings


def test_waiting_is_not_charged_to_the_video(tmp_path):
    data, path = make.video(60, fps=10, format="mpegts"), tmp_path / "live.ts"
    writer = Writer(path, data, pieces=6)
    source = growing(path, writer, poll_seconds=0.1, patience_seconds=1.2)
    with read_video(source, SamplingPlan(2.0), Limits(max_wall_seconds=1.0), chunk=1) as video:
        count = sum(len(chunk.seconds) for chunk in video)
    assert (count, video.report.warnings) == (12, ())
    assert source.waited > 1.0


@pytest.mark.parametrize("nested", [True, False])
def test_a_later_fragment_that_lies_is_met_before_ffmpeg_sees_it(tmp_path, nested):
    data, path = make.video(60, fps=10, gop=10, **KINDS["fragmented mp4"]), tmp_path / "live.mp4"
    run = make.box(b"trun", bytes(4), (2_000_000_000).to_bytes(4, "big"))
    writer = Writer(path, data + (make.box(b"moof", make.box(b"traf", run)) if nested else run), pieces=9)
    with pytest.raises(VideoError, match="samples that the file can hold") as error:
        read(growing(path, writer))
    assert error.value.kind == "limit"


def test_what_is_too_large_shrinks_or_never_comes_is_refused(tmp_path):
    data, path = make.video(60, fps=10, format="mpegts"), tmp_path / "live.ts"
    writer = Writer(path, data)
    with (
        pytest.raises(VideoError, match="must have at most") as error,
        read_video(growing(path, writer), limits=Limits(max_bytes=len(data) // 2)) as video,
    ):
        list(video)
    assert error.value.kind == "limit"

    sizes = iter([len(data) // 2, len(data) // 3])
    with pytest.raises(VideoError, match="file must only grow") as error:
        read(growing(path, lambda: bool(path.write_bytes(data[: next(sizes)])) and False))
    assert error.value.kind == "changed"

    for content, kind in ((None, "missing"), (b"", "empty"), (b"no video at all" * 99, "corrupt")):
        path.unlink(missing_ok=True)
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(VideoError) as error:
            read(growing(path))
        assert error.value.kind in (kind, "unsupported_container")
    with pytest.raises(ValueError, match="max_frames must be left out for a growing file"):
        read(growing(path), max_frames=4)


@pytest.mark.parametrize("when", range(1, 8))
def test_an_interrupt_while_it_waits_comes_through_and_leaves_no_file_open(tmp_path, when):
    """FFmpeg calls us while we wait; what we raise there would be lost."""
    data, path = make.video(60, fps=10, format="mpegts"), tmp_path / "live.ts"
    writer, left = Writer(path, data), iter(range(when))

    def until():
        if next(left, None) is None:
            raise KeyboardInterrupt
        return writer()

    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(KeyboardInterrupt):
        read(growing(path, until))
    assert len(os.listdir("/proc/self/fd")) == before


def test_every_byte_is_read_once(tmp_path, monkeypatch):
    """However often the file grows: the work is that of one reading, not of one for each look."""
    data = make.video(200, fps=10, format="mpegts")
    given: list[int] = []

    def counting(view, size, real=View.read):
        block = real(view, size)
        given.append(len(block))
        return block

    monkeypatch.setattr(View, "read", counting)
    for pieces in (2, 60):
        given.clear()
        read(growing(tmp_path / "live.ts", Writer(tmp_path / "live.ts", data, pieces)))
        assert sum(given) == len(data)


def test_another_file_in_its_place_is_not_taken_for_its_end(tmp_path):
    """Recordings are rotated: the name leads to the next one, larger or smaller."""
    path = tmp_path / "live.ts"
    for other in (make.video(20, format="mpegts"), make.video(200, format="mpegts", width=128)):
        path.write_bytes(make.video(60, fps=10, format="mpegts"))
        (tmp_path / "next.ts").write_bytes(other)
        looks = iter(range(5))

        def rotate(looks=looks):
            if next(looks, 0) == 4:
                os.replace(tmp_path / "next.ts", path)
            return False

        with pytest.raises(VideoError, match="must stay the one it was") as error:
            read(growing(path, rotate, patience_seconds=60.0))
        assert error.value.kind == "changed"


def test_one_that_is_deleted_at_its_end_was_read_to_its_end(tmp_path):
    path = tmp_path / "live.ts"
    path.write_bytes(make.video(60, fps=10, format="mpegts"))
    whole, _ = read(path)
    looks = iter(range(3))

    def delete():
        if next(looks, None) is None:
            path.unlink(missing_ok=True)
        return False

    assert same(read(growing(path, delete, patience_seconds=0.1))[0], whole)


@pytest.mark.parametrize("first", [1, 4, 7, 12, 30])
@pytest.mark.parametrize("name", ["mpegts", "fragmented mp4", "matroska"])
def test_it_may_begin_with_any_number_of_bytes(tmp_path, name, first):
    data, path = make.video(60, fps=10, gop=10, **KINDS[name]), tmp_path / "live"
    ends = iter([first, len(data)])

    def write():
        end = next(ends, None)
        if end is not None:
            path.write_bytes(data[:end])
        return False

    assert len(read(growing(path, write))[0]) == 12


def test_a_length_that_is_written_in_later_is_seen(tmp_path):
    """Some writers begin a fragment's data before they know how much it is."""
    data, path = bytearray(make.video(100, fps=10, gop=10, **KINDS["fragmented mp4"])), tmp_path / "live.mp4"
    place = data.index(b"mdat") - 4
    true = data[place : place + 4]
    data[place : place + 4] = bytes(4)
    path.write_bytes(data)
    looks, frames = iter(range(6)), []

    def patch():
        if next(looks, None) == 3:
            with open(path, "r+b") as file:
                file.seek(place)
                file.write(true)
        if len(frames) >= 10:
            raise KeyboardInterrupt
        return False

    with pytest.raises(KeyboardInterrupt):
        read(growing(path, patch, patience_seconds=60.0), frames)
    assert len(frames) >= 10


def test_an_interrupt_is_not_taken_for_a_file_without_pictures(tmp_path):
    """FFmpeg opens what there is of a file with sound, and asks for more to look for pictures."""
    path, looks = tmp_path / "live.mka", iter(range(5))
    path.write_bytes(make.sound("matroska", blocks=100))

    def interrupt():
        if next(looks, None) is None:
            raise KeyboardInterrupt
        return False

    with pytest.raises(KeyboardInterrupt):
        read(growing(path, interrupt, patience_seconds=60.0))


def test_what_is_wrong_later_keeps_its_kind(tmp_path):
    """At the first look there was no header yet; that is not what is wrong."""
    path, start = tmp_path / "live.mp4", make.box(b"ftyp", b"isom" * 300)
    for then, limits, kind in (
        (start + make.index_bomb(40_000_000), Limits(), "limit"),
        (start + make.video(20), Limits(max_bytes=len(start) + 9), "limit"),
        (start[:1100], Limits(), "changed"),
    ):
        parts = iter([start, start, then])

        def write(parts=parts):
            part = next(parts, None)
            if part is not None:
                path.write_bytes(part)
            return False

        with pytest.raises(VideoError) as error, read_video(growing(path, write), limits=limits) as video:
            list(video)
        assert error.value.kind == kind


def test_boxes_are_walked_over_once_however_often_the_file_grows(tmp_path, monkeypatch):
    looks = []
    real = mp4.inspect_mp4
    for room in (mp4, mp4_growing):
        monkeypatch.setattr(room, "inspect_mp4", lambda *args: (looks.append(args), real(*args))[1])
    data, path = (
        make.video(200, fps=10, width=320, height=240, gop=10, **KINDS["fragmented mp4"]),
        tmp_path / "v",
    )
    read(growing(path, Writer(path, data, pieces=40)))
    assert 2 <= len(looks) <= 3  # at the beginning, for what is left at the end, and for the report


def test_tracks_are_few(tmp_path):
    """Each box of a growing file asks again what all tracks claim."""
    crowd = make.box(b"ftyp", b"isom" * 3) + make.box(b"moov", *[make.box(b"trak")] * 200)
    with pytest.raises(VideoError, match="must have at most 128 tracks"), read_video(crowd):
        pass


def test_patience_and_the_clock_begin_with_the_reading(tmp_path):
    data, path = make.video(60, fps=10, format="mpegts"), tmp_path / "live.ts"
    source = growing(path, Writer(path, data), patience_seconds=0.3)
    time.sleep(0.4)
    assert len(read(source)[0]) == 12
    path.write_bytes(data)
    again = growing(path)
    again.waited = 1000.0
    with read_video(again, SamplingPlan(2.0), Limits(max_wall_seconds=1e-6), chunk=1) as video:
        list(video)
    assert str(video.report.warnings[0]).startswith("limit: stopped at Limits.max_wall_seconds")
