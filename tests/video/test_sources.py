"""What can be handed in, and how it is refused."""

import io
import os
import pickle
import stat

import pytest

from bvllm.video import KINDS, Limits, SamplingPlan, VideoError, read_video
from tests.video import make

DATA = make.video(3)


def refused(source, **options) -> VideoError:
    with pytest.raises(VideoError) as caught:
        read_video(source, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert "must" in message
    return caught.value


def test_things_that_are_no_file(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "dangling").symlink_to("nothing")
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "empty.mp4").touch()
    os.mkfifo(tmp_path / "pipe.mp4")
    for name, kind in (
        ("loop", "not_regular"),
        ("dangling", "missing"),
        ("zero", "not_regular"),
        ("folder.mp4", "not_regular"),
        ("empty.mp4", "empty"),
        ("pipe.mp4", "not_regular"),
        ("missing.mp4", "missing"),
        ("missing/at/all.mp4", "missing"),
        ("n" * 300, "missing"),
        ("nul\0.mp4", "missing"),
    ):
        assert refused(tmp_path / name).kind == kind, name
        assert refused(str(tmp_path / name)).kind == kind, name


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path):
    path = tmp_path / "secret.mp4"
    path.write_bytes(DATA)
    path.chmod(stat.S_IWUSR)
    assert refused(path).kind == "permission"


def test_bytes_and_objects_that_are_no_video():
    assert refused(b"").kind == "empty"
    assert refused(io.BytesIO()).kind == "empty"
    assert refused(io.StringIO("text")).kind == "usage"
    assert refused(42).kind == "usage"
    assert refused(None).kind == "usage"
    closed = io.BytesIO(DATA)
    closed.close()
    assert refused(closed).kind == "io"


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9/a.mp4", "https://example.com/a.mp4", "rtsp://h/x", "file:///a.mp4"]
)
def test_urls_are_refused_before_anything_is_opened(url):
    error = refused(url)
    assert error.kind == "usage"
    assert "download it first" in str(error)


@pytest.mark.parametrize(
    "name", ["concat:a|b", "data:video/mp4;base64,AAAA", "subfile,,start,0,end,9,,:x", "pipe:0"]
)
def test_ffmpeg_s_own_names_are_plain_names(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert refused(name).kind == "missing"


def test_a_root_is_kept_even_through_links(tmp_path):
    inside, outside = tmp_path / "in", tmp_path / "out"
    inside.mkdir()
    outside.mkdir()
    (outside / "a.mp4").write_bytes(DATA)
    (inside / "b.mp4").write_bytes(DATA)
    (inside / "link.mp4").symlink_to(outside / "a.mp4")
    limits = Limits(root=inside)
    read_video(inside / "b.mp4", limits=limits).close()
    for path in (inside / "link.mp4", outside / "a.mp4", inside / ".." / "out" / "a.mp4"):
        assert refused(path, limits=limits).kind == "outside_root"


def test_size_is_checked_before_anything_is_read(tmp_path):
    path = tmp_path / "big.mp4"
    with path.open("wb") as file:
        file.truncate(1 << 34)
    assert refused(path).kind == "limit"
    assert refused(DATA, limits=Limits(max_bytes=100)).kind == "limit"


def test_an_endless_pipe_ends_at_the_limit():
    class Endless(io.RawIOBase):
        def readable(self):
            return True

        def read(self, size=-1):
            return bytes(max(0, size))

    assert refused(Endless(), limits=Limits(max_bytes=5 << 20)).kind == "limit"


def test_a_file_object_that_fails_in_the_middle():
    class Failing(io.BytesIO):
        def read(self, size=-1):
            if self.tell() > 2000:
                raise ConnectionResetError("gone")
            return super().read(size)

    assert refused(Failing(make.video(200, gop=1))).kind == "io"


def test_a_disk_that_fails_after_opening_gives_what_it_gave():
    class Flaky(io.BytesIO):
        broken = False

        def read(self, size=-1):
            if self.broken and self.tell() > 60_000:
                raise OSError("input/output error")
            return super().read(size)

    file = Flaky(make.video(200, gop=1, width=320, height=240, format="mpegts"))
    with read_video(file, SamplingPlan(None)) as video:
        file.broken = True
        frames = sum(len(chunk) for chunk in video)
    assert 0 < frames < 200
    assert video.report.truncated
    assert video.report.first("io")


def test_no_descriptor_is_leaked(tmp_path):
    good, bad = tmp_path / "good.mp4", tmp_path / "bad.mp4"
    good.write_bytes(DATA)
    bad.write_bytes(b"nothing" * 100)

    def once():
        refused(bad)
        refused(tmp_path)
        with read_video(good) as video:
            list(video)

    once()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        once()
    # Fewer is no leak: what other tests of this process left behind may be closed at any time.
    assert len(os.listdir("/proc/self/fd")) <= before


def test_errors_have_a_kind_and_travel_between_processes():
    error = pickle.loads(pickle.dumps(VideoError("limit", "too large")))
    assert (error.kind, str(error)) == ("limit", "too large")
    assert len(KINDS) == 13
    with pytest.raises(ValueError, match="kind must be one of missing"):
        VideoError("odd", "message")
