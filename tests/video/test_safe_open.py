"""What can be handed in and how it is refused; a video opens nothing but itself."""

import io
import os
import pickle
import stat
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import av
import pytest

from bvllm.video import KINDS, Limits, SamplingPlan, VideoError, read_video, safe_open
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


@pytest.fixture
def requests_seen():
    """A web server on this machine and the list of what was asked of it."""
    seen: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append(self.path)
            self.send_error(404)

        def log_message(self, *args):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield seen, server.server_address[1]
    server.shutdown()
    thread.join()
    server.server_close()


def attacks(port: int) -> dict[str, bytes]:
    web = f"http://127.0.0.1:{port}"
    hls = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:10\n"
    texts = {
        "concat.mp4": "ffconcat version 1.0\nfile bait.mp4\n",
        "concat_text.mp4": "ffconcat version 1.0\nfile bait.txt\n",
        "concat_up.mp4": "ffconcat version 1.0\nfile ../bait.mp4\n",
        "concat_web.mp4": f"ffconcat version 1.0\nfile {web}/a.mp4\n",
        "list.m3u8": hls + "#EXTINF:10.0,\nbait.ts\n#EXT-X-ENDLIST\n",
        "list_web.m3u8": hls + f"#EXTINF:10.0,\n{web}/a.ts\n#EXT-X-ENDLIST\n",
        "list_key.m3u8": hls
        + f'#EXT-X-KEY:METHOD=AES-128,URI="{web}/key"\n#EXTINF:10.0,\nbait.ts\n#EXT-X-ENDLIST\n',
        "talk.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
        "m=video 39998 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
        "subtitles.idx": "# VobSub index file, v7 (do not modify this line!)\n"
        "timestamp: 00:00:01:000, filepos: 000000000\n",
        "text.txt": "a secret line\n" * 200,
    }
    return {name: text.encode() for name, text in texts.items()}


ATTACKS = sorted(attacks(0))


@pytest.fixture
def baited(tmp_path, monkeypatch):
    """A working directory full of files that an attacker would like to read."""
    (tmp_path / "bait.mp4").write_bytes(make.video(3))
    (tmp_path / "bait.ts").write_bytes(make.video(3, format="mpegts"))
    (tmp_path / "bait.txt").write_bytes(b"SECRET\n" * 500)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ATTACKS)
def test_playlists_and_texts_are_refused_and_not_followed(name, baited, requests_seen):
    seen, port = requests_seen
    data = attacks(port)[name]
    path = baited / name
    path.write_bytes(data)
    for source in (path, name, data, io.BytesIO(data), path.open("rb")):
        with pytest.raises(VideoError) as caught:
            read_video(source)
        assert caught.value.kind in ("unsupported_container", "corrupt")
        assert "SECRET" not in str(caught.value)
        if hasattr(source, "close"):
            source.close()
    assert seen == []


def test_the_bait_is_real(baited, requests_seen):
    """What FFmpeg does unless told otherwise: without this the test above could not fail."""
    seen, port = requests_seen
    with av.open(io.BytesIO(attacks(port)["concat.mp4"])) as container:
        assert sum(1 for _ in container.decode(video=0)) == 3
    (baited / "list_web.m3u8").write_bytes(attacks(port)["list_web.m3u8"])
    with (baited / "list_web.m3u8").open("rb") as file, pytest.raises(av.FFmpegError):
        av.open(file).close()
    assert seen


@pytest.mark.parametrize("codec, format", [("magicyuv", "avi"), ("huffyuv", "avi"), ("utvideo", "avi")])
def test_codecs_that_are_not_on_the_list_are_refused(codec, format):
    pixels = {"magicyuv": "gbrp", "huffyuv": "yuv422p", "utvideo": "yuv420p"}[codec]
    with pytest.raises(VideoError, match="codec must be on the list") as caught:
        read_video(make.video(2, codec=codec, format=format, pixels=pixels))
    assert caught.value.kind == "unsupported_codec"


def test_sound_alone_is_no_video():
    with pytest.raises(VideoError, match="must hold a video stream") as caught:
        read_video(make.sound())
    assert caught.value.kind == "no_video"


def test_the_self_test_passes_here():
    safe_open.self_test.__wrapped__()


@pytest.mark.parametrize("option, probe", [
    ("format_whitelist", "_refuses_playlist"),
    ("max_pixels", "_refuses_gif"),
])  # fmt: skip
def test_a_build_that_ignores_an_option_opens_nothing(option, probe, monkeypatch):
    monkeypatch.setattr(safe_open, probe, lambda *args, **kwargs: False)
    safe_open.self_test.cache_clear()
    try:
        with pytest.raises(RuntimeError, match=f"FFmpeg must honour {option}, got a build that ignores it"):
            read_video(make.video(1))
    finally:
        safe_open.self_test.cache_clear()


def test_the_probes_notice_an_option_that_has_no_effect():
    assert safe_open._refuses_gif({"max_pixels": "4"}, because="pixel")
    assert not safe_open._refuses_gif({"max_pixels": "400"}, because="pixel")
    assert not safe_open._refuses_gif({"max_pixel": "4"}, because="pixel")
    assert safe_open._refuses_gif({"codec_whitelist": "h264"}, because="hitelist")
    assert not safe_open._refuses_gif({"codec_whitlist": "h264"}, because="hitelist")


def test_the_probe_for_playlists_notices_a_missing_list(monkeypatch):
    monkeypatch.setattr(safe_open, "FORMATS", "concat")
    assert not safe_open._refuses_playlist()


def test_the_lists_stay_short():
    assert len(safe_open.FORMATS.split(",")) <= 16
    assert len(safe_open.CODECS.split(",")) <= 28


def test_a_reader_has_no_name_and_never_raises():
    class Broken(io.BytesIO):
        def read(self, size=-1):
            raise KeyError

    reader = safe_open.NamelessReader(Broken(b"abc"))
    assert not hasattr(reader, "name")
    assert reader.read(1) == b""
    assert reader.failed
    assert reader.seek(-5) < 0
