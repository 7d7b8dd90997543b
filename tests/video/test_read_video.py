"""From bytes to the right frames at the right seconds."""

import io
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from PIL import Image

from bvllm.video import Limits, SamplingPlan, VideoError, VideoReport, VideoStream, probe, read_video
from tests.video import make

EVERY = SamplingPlan(fps=None)


def read(source, plan=EVERY, **options) -> tuple[list[int], list[float], VideoReport]:
    """The numbers on the frames, their seconds, and the report."""
    numbers: list[int] = []
    seconds: list[float] = []
    with read_video(source, plan, **options) as video:
        for chunk in video:
            numbers += [make.number_on(pixels) for pixels in chunk.pixels]
            seconds += chunk.seconds.tolist()
        return numbers, seconds, video.report


CONTAINERS = {
    "mp4": {},
    "matroska": {},
    "mpegts": {},
    "mov": {},
    "flv": {},
    "webm": {"codec": "libvpx-vp9"},
    "avi": {"codec": "mpeg4"},
}


@pytest.mark.parametrize("format", CONTAINERS)
def test_every_frame_of_every_container(format):
    numbers, seconds, report = read(make.video(format=format, **CONTAINERS[format]))
    assert numbers == list(range(20))
    assert seconds == pytest.approx([n / 10 for n in range(20)], abs=0.002)
    assert (report.asked, report.got, report.skipped, report.decoded) == (20, 20, 0, 20)
    assert (report.damaged, report.truncated, report.warnings, report.complete) == (0, False, (), True)


def test_b_frames_come_in_the_order_they_are_shown():
    numbers, seconds, report = read(make.video(b_frames=3))
    assert numbers == list(range(20))
    assert seconds == pytest.approx([n / 10 for n in range(20)])
    assert report.substituted == 0


@pytest.mark.parametrize("fps, want", [
    (1.0, [0, 10]), (2.0, [0, 5, 10, 15]), (4.0, [0, 3, 5, 8, 10, 13, 15, 18]),
])  # fmt: skip
def test_each_target_takes_the_first_frame_at_or_after_it(fps, want):
    numbers, seconds, report = read(make.video(), SamplingPlan(fps=fps))
    assert numbers == want
    assert seconds == pytest.approx([n / 10 for n in want])
    assert (report.asked, report.got) == (len(want), len(want))


def test_a_gap_gives_its_frame_once():
    numbers, seconds, report = read(make.video(3, times=[0, 1, 600]), SamplingPlan(fps=1.0))
    assert (numbers, seconds) == ([0, 2], [0.0, 60.0])
    assert (report.asked, report.got, report.skipped) == (61, 2, 59)


def test_variable_rates_keep_their_true_times():
    times = [0, 1, 2, 7, 8, 20, 21, 50]
    numbers, seconds, report = read(make.video(8, times=times))
    assert numbers == list(range(8))
    assert seconds == pytest.approx([t / 10 for t in times])
    assert report.substituted == 0


def test_seconds_count_from_the_first_frame():
    _, seconds, _ = read(make.video(format="mpegts", times=list(range(36_000, 36_020))))
    assert seconds == pytest.approx([n / 10 for n in range(20)], abs=1e-4)


def test_a_stream_without_a_clock_gets_one_and_says_so():
    numbers, seconds, report = read(make.video(format="h264"))
    assert numbers == list(range(20))
    assert seconds == sorted(set(seconds))
    assert report.substituted == 20


@pytest.mark.parametrize("cap", [1, 3, 7, 19, 20, 50])
def test_a_cap_spreads_evenly_over_the_whole_video(cap):
    numbers, _, report = read(make.video(), SamplingPlan(fps=None, max_frames=cap))
    want = [(2 * j + 1) * 20 // (2 * cap) for j in range(cap)] if cap < 20 else list(range(20))
    assert numbers == want
    assert report.got == min(cap, 20)


def test_a_capped_plan_keeps_a_part_of_the_uncapped_one():
    data = make.video(60)
    whole, _, _ = read(data, SamplingPlan(fps=2.0))
    capped, _, report = read(data, SamplingPlan(fps=2.0, max_frames=5))
    assert len(capped) == 5 == report.asked
    assert set(capped) < set(whole)


@pytest.mark.parametrize("turned, rotation, mirrored", [
    ("rot90", 90, False), ("rot180", 180, False), ("rot270", 270, False), ("mirror", 0, True),
    ("flip", 180, True),
])  # fmt: skip
def test_turned_videos_come_out_upright(turned, rotation, mirrored):
    data = make.video(5, turned=turned)
    assert read(data)[0] == list(range(5))
    info = probe(data)
    assert (info.rotation, info.mirrored) == (rotation, mirrored)
    assert (info.width, info.height) == ((48, 64) if rotation in (90, 270) else (64, 48))
    assert (info.stored_width, info.stored_height) == (64, 48)


def test_pixels_that_are_not_square_are_stretched():
    data = make.video(3, ratio=Fraction(2, 1))
    with read_video(data, EVERY) as video:
        assert [tuple(chunk.pixels.shape) for chunk in video] == [(3, 3, 48, 128)]
    assert read(data)[0] == [0, 1, 2]


@pytest.mark.parametrize("pixels, codec, format", [
    ("yuv444p", "libx264", "mp4"), ("yuv422p10le", "libx264", "mp4"), ("gray", "libx264", "mp4"),
    ("yuvj420p", "libx264", "mp4"), ("rgb24", "apng", "apng"), ("rgb8", "gif", "gif"),
])  # fmt: skip
def test_other_pixel_formats(pixels, codec, format):
    numbers, _, report = read(make.video(4, pixels=pixels, codec=codec, format=format))
    assert numbers == [0, 1, 2, 3]
    assert not report.warnings


def test_odd_sizes():
    with read_video(make.video(3, width=33, height=17, pixels="yuv444p"), EVERY) as video:
        assert [tuple(chunk.pixels.shape) for chunk in video] == [(3, 3, 17, 33)]


@pytest.mark.parametrize("suffix", ["PNG", "JPEG", "WEBP", "GIF"])
def test_an_image_is_a_video_of_one_frame(suffix):
    out = io.BytesIO()
    Image.fromarray(make.picture(5)).save(out, suffix)
    numbers, seconds, report = read(out.getvalue(), SamplingPlan())
    assert (numbers, seconds) == ([5], [0.0])
    assert not report.truncated


@pytest.mark.parametrize("suffix", ["JPEG", "WEBP"])
@pytest.mark.parametrize("value, turn", [*enumerate([None, 0, 3, 1, 5, 4, 6, 2], start=1)])
def test_photos_come_out_upright(suffix, value, turn):
    """`turn` is Pillow's number of the transposition that stores a picture for each EXIF value."""
    image = Image.fromarray(make.picture(5))
    stored = image if turn is None else image.transpose(INVERSE.get(turn, turn))
    exif = Image.Exif()
    exif[0x0112] = value
    out = io.BytesIO()
    stored.save(out, suffix, exif=exif, quality=95)
    assert read(out.getvalue())[0] == [5]


# Pillow's ROTATE_90 (2) undoes ROTATE_270 (4); the others undo themselves.
INVERSE = {2: 4, 4: 2}


def test_path_bytes_and_file_object_give_the_same_twice(tmp_path: Path):
    data = make.video(30)
    path = tmp_path / "a:b %03d.mp4"
    path.write_bytes(data)
    pixels = []
    for source in (path, str(path), data, io.BytesIO(data), data):
        with read_video(source, SamplingPlan(fps=5.0), size=(32, 32), chunk=4) as video:
            pixels.append(torch.cat([chunk.pixels for chunk in video]))
    assert all(torch.equal(pixels[0], other) for other in pixels[1:])


def test_a_pipe_is_copied_first():
    class Pipe(io.BytesIO):
        def seekable(self):
            return False

    assert read(Pipe(make.video(5)))[0] == list(range(5))


def test_a_file_object_of_the_caller_stays_open():
    file = io.BytesIO(make.video(3))
    with read_video(file) as video:
        list(video)
    assert not file.closed


def test_chunks_are_uint8_and_no_longer_than_asked():
    with read_video(make.video(), EVERY, size=(16, 24), chunk=8) as video:
        chunks = list(video)
    assert [len(chunk) for chunk in chunks] == [8, 8, 4]
    assert all(
        chunk.pixels.dtype == torch.uint8 and chunk.pixels.shape[1:] == (3, 16, 24) for chunk in chunks
    )
    assert all(chunk.seconds.dtype == torch.float64 for chunk in chunks)


def test_a_new_size_in_mid_stream_begins_a_new_chunk():
    data = make.video(5, format="h264") + make.video(5, format="h264", width=128, height=96)
    with read_video(data, EVERY) as video:
        assert [tuple(chunk.pixels.shape) for chunk in video] == [(5, 3, 48, 64), (5, 3, 96, 128)]
    with read_video(data, EVERY, size=(48, 64)) as video:
        assert [len(chunk) for chunk in video] == [10]


def test_threads_change_nothing_but_the_speed():
    data = make.video(30)
    assert read(data, threads=2)[:2] == read(data)[:2]


def test_a_stream_is_read_once():
    with read_video(make.video(3)) as video:
        list(video)
        with pytest.raises(VideoError, match="read once") as caught:
            list(video)
    assert caught.value.kind == "usage"


def test_the_report_is_incomplete_until_the_end():
    with read_video(make.video(), EVERY, chunk=2) as video:
        assert isinstance(video, VideoStream)
        next(iter(video))
        assert not video.report.complete


def test_probe_says_what_a_video_is():
    info = probe(make.video())
    assert (info.width, info.height, info.codec, info.frames, info.still) == (64, 48, "h264", 20, False)
    assert info.container.startswith("mov,mp4")
    assert (info.duration_seconds, info.frame_rate, info.pixel_format) == (2.0, 10.0, "yuv420p")


@pytest.mark.parametrize("options, message", [
    ({"chunk": 0}, "chunk must be at least 1, got 0"),
    ({"threads": 0}, "threads must be at least 1, got 0"),
    ({"size": (0, 4)}, "size must be at least 1, got 0"),
])  # fmt: skip
def test_wrong_settings_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        read_video(b"", **options)


def test_reading_stops_at_a_limit_and_says_so():
    data = make.video(20)
    for limits, frames, name in (
        (Limits(max_decoded_frames=5), 5, "max_decoded_frames"),
        (Limits(max_seconds=0.75), 8, "max_seconds"),
        (Limits(max_wall_seconds=1e-9), 1, "max_wall_seconds"),
    ):
        numbers, _, report = read(data, limits=limits)
        assert numbers == list(range(frames))
        assert report.truncated
        assert str(report.warnings[0]).startswith(f"limit: stopped at Limits.{name} =")


def test_stretched_pixels_cannot_make_a_picture_larger_than_the_limit():
    data = make.video(4, width=64, height=48, ratio=Fraction(20, 1))
    with read_video(data) as video:
        assert (video.info.height, video.info.width) == (48, 1280)
    with read_video(data, limits=Limits(max_pixels=48 * 1279)) as video:
        (chunk,) = list(video)
    assert chunk.pixels.shape[2:] == (48, 64)


def joined(jump: float) -> bytes:
    """Two transport streams of five seconds, one behind the other; the clock of the second jumps."""
    first = make.video(50, format="mpegts")
    ticks = [round(10 * jump) + 50 + k for k in range(50)]
    return first + make.video(50, format="mpegts", times=ticks)


@pytest.mark.parametrize("jump", [0.0, 5000.0, -4.0, 90000.0])
@pytest.mark.parametrize("decode", ["auto", "all"])
def test_a_clock_that_jumps_in_a_transport_stream_is_healed_and_told(jump, decode, short_too):
    with read_video(joined(jump), SamplingPlan(fps=1.0), decode=decode) as video:
        seconds = [s for chunk in video for s in chunk.seconds.tolist()]
    assert seconds == pytest.approx([float(k) for k in range(10)], abs=0.11)
    assert (video.report.first("clock") is not None) == (jump != 0)
