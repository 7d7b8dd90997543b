"""A video opens nothing but itself."""

import io
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import av
import pytest

from bvllm.video import VideoError, read_video, safe_open
from tests.video import make


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
