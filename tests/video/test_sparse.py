"""Decoding in part gives the frames and seconds of decoding everything, or everything is decoded."""

import io
import threading
from dataclasses import replace

import av
import pytest
import torch

from bvllm.video import Limits, SamplingPlan, VideoError, VideoReport, ranges, read_video, sparse
from tests.video import make

PLANS = (
    SamplingPlan(fps=1.0),
    SamplingPlan(fps=0.3),
    SamplingPlan(fps=3.7),
    SamplingPlan(fps=2.0, max_frames=5),
    SamplingPlan(fps=None, max_frames=7),
)
NOISELESS = "sliced-threads=0:rc-lookahead=0:sync-lookahead=0:no-mbtree=1"
JITTER = [0, 1, 2, 7, 8, 20, 21, 50, *range(51, 100)]
X265 = make.OTHERS["libx265"]["x265-params"]

# What can be decoded in part.
PROVEN = {
    "h264 mp4": {},
    "h264 mp4 b-frames": {"b_frames": 3},
    "h264 mp4 b-pyramid": {"b_frames": 3, "options": {"x264-params": NOISELESS + ":b-pyramid=2"}},
    "h264 mp4 open gop": {"b_frames": 3, "options": {"x264-params": NOISELESS + ":open-gop=1"}},
    "h264 mp4 one group": {"b_frames": 2, "gop": 1000},
    "h264 mp4 variable rate": {"frames": len(JITTER), "times": JITTER, "b_frames": 2},
    "h264 mp4 late start": {"times": list(range(500, 560)), "b_frames": 2},
    "h264 mp4 fragmented": {"b_frames": 2, "movflags": "frag_keyframe+empty_moov"},
    "h264 matroska": {"format": "matroska", "b_frames": 3},
    "h264 mpegts": {"format": "mpegts", "b_frames": 3},
    "h264 flv": {"format": "flv"},
    "hevc mp4 open gop": {"codec": "libx265", "b_frames": 3},
    "hevc mp4 closed gop": {
        "codec": "libx265",
        "b_frames": 3,
        "options": {"x265-params": X265 + ":open-gop=0"},
    },
    "hevc mp4 temporal layers": {
        "codec": "libx265",
        "b_frames": 3,
        "options": {"x265-params": X265 + ":temporal-layers=3"},
    },
    "hevc matroska": {"codec": "libx265", "format": "matroska"},
    "vp9 webm": {"codec": "libvpx-vp9", "format": "webm"},
    "vp9 webm hidden frames": {
        "codec": "libvpx-vp9",
        "format": "webm",
        "options": {"lag-in-frames": "12", "auto-alt-ref": "1", "deadline": "good"},
    },
    "av1 mp4": {"codec": "libsvtav1"},
    "av1 webm": {"codec": "libsvtav1", "format": "webm"},
    "mpeg4 mp4 b-frames": {"codec": "mpeg4", "b_frames": 2},
    "mpeg4 avi": {"codec": "mpeg4", "format": "avi"},
    "mpeg4 avi b-frames": {"codec": "mpeg4", "format": "avi", "b_frames": 2},
    "mpeg2 mpegts b-frames": {"codec": "mpeg2video", "format": "mpegts", "b_frames": 2, "fps": 25},
    "mpeg2 mp4": {"codec": "mpeg2video", "fps": 25},
}
# What is decoded whole, since something that the proof needs is missing.
UNPROVEN = {
    "no clock": {"format": "h264"},
    "interlaced h264": {"options": {"x264-params": NOISELESS + ":interlaced=1"}},
    "interlaced mpeg2": {"codec": "mpeg2video", "fps": 25, "options": {"flags": "+ildct+ilme"}},
    "other codec": {"codec": "mjpeg", "pixels": "yuvj420p", "format": "matroska"},
}


def read(source, plan, **options) -> tuple[list[torch.Tensor], list[float], VideoReport]:
    pictures: list[torch.Tensor] = []
    seconds: list[float] = []
    with read_video(source, plan, **options) as video:
        for chunk in video:
            pictures += chunk.pixels
            seconds += chunk.seconds.tolist()
        return pictures, seconds, video.report


def same(source, plan, **options) -> VideoReport:
    """Reads a video both ways, compares all there is, and returns the report of decoding in part."""
    pictures, seconds, report = read(source, plan, decode="all", **options)
    for threads in (1, 3):
        some, times, found = read(source, plan, threads=threads, **options)
        assert times == seconds
        assert len(some) == len(pictures)
        assert all(torch.equal(a, b) for a, b in zip(some, pictures))
        assert replace(found, decoded=report.decoded, sparse=report.sparse) == report
        assert found.decoded <= report.decoded or not found.sparse
    return found


def made(case: dict) -> bytes:
    return make.video(**{"frames": 60, **case})


@pytest.mark.parametrize("case", PROVEN)
def test_the_same_frames_as_decoding_everything(case, short_too):
    data = made(PROVEN[case])
    assert all(same(data, plan).sparse == (plan.fps is not None) for plan in PLANS)


@pytest.mark.parametrize("case", UNPROVEN)
def test_everything_is_decoded_where_the_proof_fails(case, short_too):
    data = made(UNPROVEN[case])
    assert not any(same(data, plan).sparse for plan in PLANS[:2])


def test_frames_that_nobody_refers_to_and_tails_are_left_out(short_too):
    whole = read(made({"b_frames": 3}), SamplingPlan(fps=1.0), decode="all")[2]
    part = read(made({"b_frames": 3}), SamplingPlan(fps=1.0))[2]
    assert whole.decoded == 60
    assert part.decoded < 40


def test_short_videos_and_dense_plans_are_decoded_whole(monkeypatch):
    data = made({})
    assert not read(data, SamplingPlan(fps=1.0))[2].sparse
    monkeypatch.setattr(sparse, "SHORTEST_SECONDS", 2.0)
    assert read(data, SamplingPlan(fps=1.0))[2].sparse
    assert not read(data, SamplingPlan(fps=5.0))[2].sparse
    assert not read(data, SamplingPlan(fps=None))[2].sparse


def test_new_settings_in_mid_stream_are_seen(short_too):
    one = make.video(30, format="mpegts")
    other = make.video(30, format="mpegts", times=list(range(30, 60)), options={"crf": "40", "refs": "1"})
    report = same(one + other, SamplingPlan(fps=1.0))
    assert not report.sparse


def test_a_cut_file_is_decoded_whole_and_says_so(short_too):
    data = make.video(60, movflags="faststart")
    report = same(data[: len(data) * 3 // 4], SamplingPlan(fps=1.0))
    assert not report.sparse
    assert report.truncated


def damaged(data: bytes, at: float) -> bytes:
    """Noise over forty bytes in the middle of the pictures."""
    start = data.index(b"mdat") + int((len(data) - data.index(b"mdat")) * at)
    return data[:start] + bytes(range(7, 247, 6)) + data[start + 40 :]


@pytest.mark.parametrize("at", [0.3, 0.5, 0.7, 0.8])
def test_damage_changes_no_frame(at, short_too):
    data = damaged(make.video(60, movflags="faststart", width=160, height=120), at)
    for plan in PLANS:
        pictures, seconds, _ = read(data, plan, decode="all")
        some, times, _ = read(data, plan)
        assert times == seconds
        assert all(torch.equal(a, b) for a, b in zip(some, pictures, strict=True))


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("broken", [1, 4, 9])
def test_what_fails_on_the_way_is_read_again_whole(broken, threads, short_too, monkeypatch):
    """Frames that were handed on before stay, and none comes twice."""
    data, plan = made({"b_frames": 2}), SamplingPlan(fps=2.0)
    pictures, seconds, _ = read(data, plan, decode="all")
    honest, count = ranges.RangeDecoder.frames, [0]

    def failing(self, part):
        for frame in honest(self, part):
            count[0] += 1
            if count[0] > broken:
                raise ranges.Unproven
            yield frame

    monkeypatch.setattr(ranges.RangeDecoder, "frames", failing)
    some, times, report = read(data, plan, threads=threads)
    assert times == seconds
    assert all(torch.equal(a, b) for a, b in zip(some, pictures, strict=True))
    assert not report.sparse
    assert report.complete
    assert (report.asked, report.got) == (12, 12)


def test_a_video_that_changes_on_the_way_is_no_answer(short_too, monkeypatch):
    """The frames already handed on cannot be taken back, so it must not end well."""
    first, second = made({}), made({"times": [3 * n for n in range(60)]})
    file = io.BytesIO(first)

    def swapped(self, part):
        if part.entry:
            file.seek(0)
            file.truncate()
            file.write(second)
            raise ranges.Unproven
        return honest(self, part)

    honest = ranges.RangeDecoder.frames
    monkeypatch.setattr(ranges.RangeDecoder, "frames", swapped)
    with pytest.raises(VideoError, match="same frames each time"):
        read(file, SamplingPlan(fps=5.0))


@pytest.mark.parametrize("threads", [1, 2])
def test_limits_hold_in_part_too(threads, short_too):
    data = made({"b_frames": 2})
    plan = SamplingPlan(fps=2.0)
    for limits in (Limits(max_seconds=3.2), Limits(max_decoded_frames=25), Limits(max_seconds=3.5)):
        whole = read(data, plan, limits=limits, decode="all")
        part = read(data, plan, limits=limits, threads=threads)
        assert part[1] == whole[1]
        assert part[2].warnings == whole[2].warnings
        assert part[2].truncated


def test_wall_time_ends_the_reading(short_too, monkeypatch):
    data = made({})
    monkeypatch.setattr(sparse.Clock, "seconds", lambda self: 0.0)
    with read_video(data, SamplingPlan(fps=2.0), chunk=1) as video:
        chunks = iter(video)
        next(chunks)
        monkeypatch.setattr(sparse.Clock, "seconds", lambda self: 1e9)
        list(chunks)
        assert video.report.sparse
        assert video.report.truncated
        assert str(video.report.warnings[0]).startswith("limit: stopped at Limits.max_wall_seconds")


@pytest.mark.parametrize("threads", [1, 3])
def test_the_first_frames_can_be_left_out(threads, short_too):
    data, plan = made({"b_frames": 2}), SamplingPlan(fps=2.0)
    pictures, seconds, report = read(data, plan)
    for first in (0, 1, 5, 11, 12, 40):
        some, times, found = read(data, plan, first=first, threads=threads)
        assert times == seconds[first:]
        assert all(torch.equal(a, b) for a, b in zip(some, pictures[first:], strict=True))
        assert replace(found, decoded=report.decoded) == report
    whole = read(data, plan, first=5, decode="all")
    assert whole[1] == seconds[5:]
    assert read(data, plan, first=9)[2].decoded < report.decoded


def test_sources_of_every_kind_can_be_read_by_several_threads(tmp_path, short_too):
    data, plan = made({"b_frames": 2}), SamplingPlan(fps=3.0)
    path = tmp_path / "video.mp4"
    path.write_bytes(data)
    pictures, _, _ = read(data, plan)
    with path.open("rb") as file:
        for source in (path, str(path), io.BytesIO(data), file):
            some, _, report = read(source, plan, threads=4)
            assert report.sparse
            assert all(torch.equal(a, b) for a, b in zip(some, pictures, strict=True))


def test_closing_in_the_middle_stops_the_threads(short_too):
    before = threading.active_count()
    video = read_video(made({}), SamplingPlan(fps=5.0), chunk=1, threads=3)
    next(iter(video))
    video.close()
    assert threading.active_count() == before


def test_wrong_words_for_decode_and_first():
    with pytest.raises(ValueError, match="decode must be one of"):
        read_video(b"", decode="some")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="first must be at least 0, got -1"):
        read_video(b"", first=-1)


def remuxed(data: bytes, change) -> bytes:
    """The same packets, after `change` was told of each with its number."""
    out = io.BytesIO()
    with av.open(io.BytesIO(data)) as source, av.open(out, "w", format="mp4") as target:
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream)
        for number, packet in enumerate(p for p in source.demux(stream) if p.size):
            change(number, packet)
            packet.stream = copy
            target.mux(packet)
    return out.getvalue()


def without_order(number, packet):
    packet.pts = packet.dts = number * int(1 / packet.stream.average_rate / packet.time_base)


def test_b_pictures_without_times_of_their_own_are_decoded_whole(short_too):
    """Some writers know decoding times only: what is shown when, then, is the decoder's to say."""
    form = {"frames": 200, "fps": 25, "gop": 50}
    for options in ({"b_frames": 1}, {"b_frames": 3}, {"b_frames": 2, "codec": "mpeg2video"}):
        assert not same(remuxed(make.video(**form, **options), without_order), SamplingPlan(fps=1.0)).sparse
    assert same(remuxed(make.video(**form), without_order), SamplingPlan(fps=1.0)).sparse


@pytest.mark.parametrize("fps", [1.0, None])
@pytest.mark.parametrize("most", [1, 3, 8])
def test_a_plan_is_spread_over_what_a_limit_lets_through(most, fps, short_too):
    plan, data = SamplingPlan(fps=fps, max_frames=most), make.video(120, fps=2)
    for limits in (Limits(max_seconds=9.0), Limits(max_decoded_frames=15), Limits(max_seconds=0.1)):
        report = same(data, plan, limits=limits)
        assert 1 <= report.got <= most
    assert same(data, plan, limits=Limits(max_seconds=30.0)).got == most


def test_every_decoder_sees_the_first_packet(short_too, monkeypatch):
    """What an encoder says of itself stands there alone."""
    seen, honest = [], ranges.RangeDecoder._show_the_first

    def watched(self, opened):
        honest(self, opened)
        seen.append((self._next, self._held.pts))

    monkeypatch.setattr(ranges.RangeDecoder, "_show_the_first", watched)
    assert same(made({"b_frames": 2}), SamplingPlan(fps=1.0)).sparse
    assert len(seen) >= 2  # one thread, then several
    assert set(seen) == {(0, 0)}


def test_a_closed_stream_gives_no_more_frames(short_too):
    for decode in ("auto", "all"):
        video = read_video(made({}), SamplingPlan(fps=2.0), chunk=2, decode=decode)
        chunks = iter(video)
        next(chunks)
        video.close()
        with pytest.raises(VideoError, match="must be open while it is read") as error:
            next(chunks)
        assert error.value.kind == "usage"
        assert not video.report.complete
    early = read_video(made({}))
    early.close()
    with pytest.raises(VideoError, match="must be open while it is read"):
        list(early)
