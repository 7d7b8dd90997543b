"""Findings: each kind of oddness in a video that has it, none in one that has not."""

from fractions import Fraction

import av
import numpy as np
import pytest

from bvllm.common.text import shown
from bvllm.video.inspection.doctor import as_json, examine
from bvllm.video.inspection.findings import WEIGHTS
from bvllm.video.videos_in import videos_in, videos_of
from tests.video.make import repeated, sound, video


@pytest.fixture
def look(tmp_path):
    """Writes a video and examines it: its diagnosis, and its findings by name."""

    def run(data: bytes, name: str = "video.mp4", **settings):
        path = tmp_path / name
        path.write_bytes(data)
        seen = examine(path, **settings)
        return seen, {finding.name: finding for finding in seen.findings}

    return run


def test_a_plain_video_has_no_findings(look):
    seen, found = look(video(20))
    assert found == {}
    assert seen.answerable
    assert seen.headline == "h264 in mp4, 64x48, 2.0 s"
    assert seen.rests_on == "2 of 2 frames asked for at 1 a second, 00:00 to 00:01, no warning"


@pytest.mark.parametrize(
    "settings, name, weight, said",
    [
        ({"turned": "rot90"}, "turned", "odd", "turned by 90 degrees"),
        ({"turned": "mirror"}, "turned", "odd", "mirrored"),
        ({"ratio": Fraction(2, 1)}, "stretched", "odd", "stored as 64x48, shown as 128x48"),
        ({"times": [0, 1, 2, 50], "frames": 4}, "variable frame rate", "odd", "taken by their times"),
        ({"times": [0, 1, 2, 500], "frames": 4}, "gap", "odd", "nothing is shown for"),
        ({"fps": 240}, "high frame rate", "cost", "240 pictures a second"),
        ({"format": "h264"}, "times made up", "doubt", "48 pictures carry no time"),
    ],
)  # fmt: skip
def test_an_oddness_is_named(look, settings, name, weight, said):
    settings = dict(settings)
    data = video(settings.pop("frames", 48), **settings)
    seen, found = look(data, "video.h264" if settings.get("format") else "video.mp4")
    assert seen.answerable
    assert (found[name].weight, said in found[name].text) == (weight, True)


@pytest.mark.parametrize(
    "gop, name, said",
    [(999, "no key pictures", "decodes from the start"), (15, "rare key pictures", "15.0 s apart")],
)
def test_key_pictures_that_are_far_apart(look, tmp_path, gop, name, said):
    """One picture again and again, so that no encoder sees a cut."""
    with av.open(str(tmp_path / "still.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=1)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 64, 48, "yuv420p", gop
        stream.options = {"threads": "1", "preset": "ultrafast"}
        for _ in range(30):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 90, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    _, found = look((tmp_path / "still.mp4").read_bytes())
    assert (found[name].weight, said in found[name].text) == ("cost", True)


def test_a_name_that_lies_about_the_content(look):
    _, found = look(video(12), "video.avi")
    assert "called .avi" in found["wrong suffix"].text


def test_a_cut_video_is_answered_and_what_is_lost_comes_first(look):
    whole = video(240, format="matroska")
    seen, _ = look(whole[: len(whole) // 2], "cut.mkv")
    assert seen.answerable
    assert seen.findings[0].name == "truncated"
    assert seen.findings[0].weight == "loss"
    assert "1 warning" in seen.rests_on
    weights = [WEIGHTS.index(finding.weight) for finding in seen.findings]
    assert weights == sorted(weights)


def test_damage_between_the_sampled_frames_is_found(look):
    """At one frame a second most of a video is never shown, but all of it is looked at."""
    whole = bytearray(repeated(4))
    middle = whole.index(b"mdat") + 4 + (len(whole) - whole.index(b"mdat")) // 3
    for k in range(200):
        whole[middle + k] ^= 0x5A
    _, found = look(bytes(whole))
    assert found["damage"].weight == "loss"


@pytest.mark.parametrize(
    "data, kind", [(sound(), "no_video"), (b"no video at all", "corrupt"), (b"", "empty")]
)
def test_what_cannot_be_answered_is_one_heavy_finding(look, data, kind):
    seen, found = look(data)
    assert not seen.answerable
    assert [(f.weight, f.name) for f in seen.findings] == [("broken", kind)]
    assert "must" in found[kind].text
    assert seen.rests_on == "no answer is possible"
    assert as_json(seen)["answer"] is None


def test_fps_is_the_questions(look):
    seen, _ = look(video(20), fps=4.0)
    assert seen.report.asked == 8
    with pytest.raises(ValueError, match="fps must be positive"):
        look(video(20), fps=0.0)


def test_progress_counts_the_frames(look):
    told = []
    look(video(30), progress=lambda *step: told.append(step))
    assert told == [("read", k, 3) for k in (1, 2, 3)]


def test_a_folder_gives_its_videos_and_nothing_else(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / ".hidden").mkdir()
    for name in ("z.mp4", "b/a.MKV", "notes.txt", ".hidden/c.mp4", ".d.mp4"):
        (tmp_path / name).touch()
    (tmp_path / "b" / "round").symlink_to(tmp_path)
    assert [str(path.relative_to(tmp_path)) for path in videos_in(tmp_path)] == ["z.mp4", "b/a.MKV"]
    assert videos_of([tmp_path / "z.mp4", tmp_path]) == [tmp_path / "z.mp4", tmp_path / "b" / "a.MKV"]
    assert videos_in(tmp_path / "notes.txt") == [tmp_path / "notes.txt"]


def test_a_folder_without_a_video_is_refused(tmp_path):
    with pytest.raises(ValueError, match="folder must hold videos"):
        videos_of([tmp_path])


def test_a_name_keeps_to_its_line():
    assert shown("a\nb\x1b[31m.mp4") == "a\\nb\\x1b[31m.mp4"
