"""Files that end early, are damaged, or claim what cannot be."""

import io
import random
import time

import pytest
from PIL import Image

from bvllm.video import Limits, SamplingPlan, VideoError, mp4, read_video
from tests.video import make

EVERY = SamplingPlan(fps=None)
WHOLE = {
    "mp4": lambda: make.video(60, movflags="+faststart"),
    "fragmented": lambda: make.video(60, movflags="+frag_keyframe+empty_moov+default_base_moof"),
    "mkv": lambda: make.video(60, format="matroska"),
    "webm": lambda: make.video(60, format="webm", codec="libvpx-vp9"),
    "ts": lambda: make.video(60, format="mpegts"),
    "avi": lambda: make.video(60, format="avi", codec="mpeg4", width=320, height=240),
    "gif": lambda: make.video(60, format="gif", codec="gif", pixels="rgb8"),
}


def image(suffix: str) -> bytes:
    out = io.BytesIO()
    Image.effect_mandelbrot((200, 200), (-2, -1.5, 1, 1.5), 50).convert("RGB").save(out, suffix)
    return out.getvalue()


def outcome(data: bytes, **limits) -> tuple[int, bool, int, tuple[str, ...]]:
    with read_video(data, EVERY, Limits(**limits)) as video:
        frames = sum(len(chunk) for chunk in video)
        report = video.report
    return frames, report.truncated, report.damaged, report.warnings


def refused(data: bytes, **limits) -> str:
    with pytest.raises(VideoError) as caught:
        outcome(data, **limits)
    return caught.value.kind


@pytest.mark.parametrize("name", WHOLE)
def test_a_cut_file_gives_what_is_there_and_says_so(name):
    data = WHOLE[name]()
    assert outcome(data) == (60, False, 0, ())
    for part in (0.6, 0.9):
        frames, truncated, _, warnings = outcome(data[: int(len(data) * part) + 1])
        assert 0 < frames < 60
        assert truncated
        assert "truncated" in [warning.kind for warning in warnings]


def test_a_cut_picture_says_so():
    photo, drawing = image("JPEG"), image("PNG")
    assert outcome(photo) == outcome(drawing) == (1, False, 0, ())
    frames, truncated, _, _ = outcome(photo[: len(photo) * 6 // 10])
    assert (frames, truncated) == (1, True)
    assert refused(drawing[: len(drawing) * 6 // 10]) == "corrupt"  # half a PNG is none to its decoder


@pytest.mark.parametrize("name", ["mp4", "mkv", "avi"])
def test_padding_after_the_end_is_no_damage(name):
    assert outcome(WHOLE[name]() + bytes(65536))[:2] == (60, False)


@pytest.mark.parametrize("name", ["mp4", "mkv", "ts"])
def test_flipped_bits_cost_some_frames_and_are_reported(name):
    data = bytearray(WHOLE[name]())
    rng = random.Random(name)
    for _ in range(200 if name == "ts" else 30):  # most of a small transport stream is stuffing
        data[rng.randrange(len(data) // 2, len(data) * 9 // 10)] ^= 1 << rng.randrange(8)
    frames, _, damaged, warnings = outcome(bytes(data))
    assert 20 < frames <= 60
    assert damaged
    assert "damage" in [warning.kind for warning in warnings]


def test_a_broadcast_that_begins_between_key_frames_says_so():
    data = make.video(40, format="mpegts", gop=20)
    packets = range(0, len(data), 188)
    starts = [
        at for at in packets if (data[at + 1] << 8 | data[at + 2]) & 0x5FFF == 0x4100
    ]  # a picture begins
    frames, _, damaged, _ = outcome(data[: 188 * 3] + data[starts[10] :])
    assert frames >= 20
    assert damaged


@pytest.mark.parametrize("data", [
    b"\0", bytes(100_000), random.Random(7).randbytes(100_000), b"hello world\n" * 500,
    b"PK\3\4" + bytes(200),
    b"<!DOCTYPE html><html><body>404 Not Found</body></html>\n" * 20, make.video(5)[:40], make.video(5)[:900],
], ids=["byte", "zeros", "random", "text", "zip", "html", "ftyp", "no moov"])  # fmt: skip
def test_what_is_no_video_is_refused(data):
    assert refused(data) in ("corrupt", "no_video", "unsupported_container")


def test_tables_that_claim_millions_of_samples_are_refused_at_once():
    """FFmpeg believes them: opening this file would take 1.4 GB."""
    data = make.index_bomb(40_000_000)
    assert len(data) < 700
    started = time.monotonic()
    assert refused(data) == "limit"
    assert time.monotonic() - started < 1.0


def test_the_same_file_with_an_honest_claim_is_opened():
    assert refused(make.index_bomb(2)) == "corrupt"  # it holds no picture


BIG = 50_000_000


@pytest.mark.parametrize("tables", [
    [make.table(b"stsz", 1, BIG)],
    [make.table(b"stts", 1, BIG, 1)],
    [make.table(b"ctts", 2, BIG // 2, 1, BIG // 2, 2)],
    [make.table(b"stsz", 0, 10_000, *range(10_000)), make.table(b"elst", 3000, *range(9000))],
    [make.table(b"stts", 1, 7, 1), make.table(b"stsc", 1, 1, 2**31, 1), make.table(b"stco", 99, *range(99))],
], ids=["stsz", "stts", "ctts", "elst", "stsc"])  # fmt: skip
def test_each_table_is_added_up(tables):
    handler = b"soun" if tables[-1][4:8] == b"stco" else b"vide"
    with pytest.raises(VideoError, match="tables must describe samples that the file can hold") as caught:
        mp4.inspect_mp4(*sized(make.mp4_of(*tables, handler=handler)))
    assert caught.value.kind == "limit"


def test_fragments_are_added_up():
    run = make.box(b"moof", make.box(b"traf", make.table(b"trun", BIG)))
    with pytest.raises(VideoError, match="tables must describe samples"):
        mp4.inspect_mp4(*sized(make.mp4_of() + run))


def test_a_hidden_header_is_found():
    data = make.mp4_of(make.table(b"stsz", 1, BIG))
    hidden = data.replace(b"moov", b"free").replace(b"trak", b"mvhd" + bytes(4), 1)
    with pytest.raises(VideoError, match="must not be compressed"):
        mp4.inspect_mp4(*sized(make.box(b"ftyp", bytes(8)) + make.box(b"moov", make.box(b"cmov", bytes(8)))))
    body = data[data.index(b"moov") + 4 :]
    hidden = make.box(b"ftyp", bytes(8)) + make.box(b"free", make.box(b"mvhd", bytes(8)), body)
    with pytest.raises(VideoError, match="tables must describe samples"):
        mp4.inspect_mp4(*sized(hidden))


def test_an_hour_of_plain_sound_is_no_bomb():
    """48 000 samples of four bytes a second, cut to 64 bytes: indexed by chunk, so it costs nothing."""
    samples = 48_000 * 3600
    tables = [
        make.table(b"stts", 1, samples, 1),
        make.table(b"stsz", 4, samples),
        make.table(b"stsc", 1, 1, 48_000, 1),
        make.table(b"stco", 3600, *range(3600)),
    ]
    assert mp4.inspect_mp4(*sized(make.mp4_of(*tables, handler=b"soun"))) is not None


def test_deep_nests_are_refused():
    data = make.box(b"ftyp", bytes(8))
    count = 20_000
    data += b"".join((8 * (count - k)).to_bytes(4, "big") + b"moov" for k in range(count))
    assert refused(data) == "limit"


def sized(data: bytes) -> tuple[io.BytesIO, int]:
    return io.BytesIO(data), len(data)


def test_pictures_beyond_the_limit_are_refused_before_they_are_decoded():
    gif = b"GIF89a" + (16_000).to_bytes(2, "little") * 2 + b"\x80\0\0" + bytes(3) + b"\xff" * 3
    gif += b"\x2c" + bytes(4) + b"\1\0\1\0\0" + b"\x02\x02\x44\x01\0;"
    assert refused(gif) == "limit"
    assert refused(make.video(3), max_pixels=64 * 48 - 1) == "limit"
    assert outcome(make.video(3), max_pixels=64 * 48)[0] == 3
    assert refused(image("PNG"), max_image_pixels=200 * 200 - 1) == "limit"
    assert outcome(image("PNG"), max_image_pixels=200 * 200)[0] == 1


@pytest.mark.parametrize("width, height", [(80, 60), (640, 480)])
def test_a_picture_that_grows_in_mid_stream_is_not_handed_on(width, height):
    """A little too large: our check ends the video. Far too large: the decoder refuses it as damaged."""
    late = list(range(1000, 1005))
    data = make.video(1000, format="mpegts")
    data += make.video(5, format="mpegts", width=width, height=height, times=late)
    frames, truncated, damaged, warnings = outcome(data, max_pixels=64 * 48)
    assert 990 < frames <= 1000
    assert truncated or damaged == 5
    assert str(warnings[0]).startswith("limit: stopped at Limits.max_pixels" if width == 80 else "damage: 5")


def test_structures_of_broken_heads_are_not_guessed():
    for head in (
        b"RIFF",
        b"\x1a\x45\xdf\xa3",
        b"GIF89a",
        b"\xff\xd8\xff",
        b"\x89PNG\r\n\x1a\n",
        b"G",
        b"\0\0\0\1moov",
    ):
        for size in range(1, 40):
            mp4.inspect_structure(io.BytesIO((head + bytes(40))[:size]))


@pytest.mark.parametrize("head, one", [
    (b"\xff\xd8", b"\xff\xe0\0\2"),
    (b"RIFF\0\0\0\0WEBP", b"JUNK\0\0\0\0"),
    (b"", b"RIFF\0\0\0\0"),
])  # fmt: skip
def test_a_file_of_nothing_but_headers_keeps_nobody(head, one):
    """Eight gigabytes of these would be a billion steps, before any limit on time is asked."""

    class Counted(io.BytesIO):
        reads = 0

        def read(self, *size):
            self.reads += 1
            return super().read(*size)

    file = Counted(head + one * 200_000)
    with pytest.raises(VideoError):
        read_video(file)
    assert file.reads < 50_000


def test_an_mp4_that_was_never_finished_is_called_that():
    data = make.video(20)
    with pytest.raises(VideoError, match="got one that was not written to its end") as caught:
        outcome(data[: data.index(b"moov") - 4])
    assert caught.value.kind == "corrupt"
