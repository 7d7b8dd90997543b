"""Bodies of any size in little memory."""

import base64
import json
import random

import pytest

from bvllm.server.base64_file import decoded
from bvllm.server.body import LONG, SpooledText, SpoolingJson
from bvllm.server.errors import ApiError


@pytest.fixture
def new(tmp_path):
    count = iter(range(1000))
    return lambda small=1 << 20, large=1 << 24: SpoolingJson(
        lambda: tmp_path / f"{next(count)}.tmp", lambda size: None, lambda size: None, small, large
    )


def fed(body, raw, step=1 << 16):
    for start in range(0, len(raw), step):
        body.feed(raw[start : start + step])
    return body


def test_any_json_comes_out_as_json_reads_it_however_it_is_cut(new):
    draw = random.Random(3)
    texts = ["", 'say "no"', "a\\b", "\\", "é\u2028", "ab" * 40, '\\\\"', "/"]
    for _ in range(60):
        found = {draw.choice(texts): [draw.choice(texts), {"n": draw.random()}, None] for _ in range(4)}
        raw = json.dumps(found, ensure_ascii=draw.random() < 0.5).encode()
        assert fed(new(), raw, draw.randint(1, 9)).parsed() == found


def test_a_long_text_goes_to_disk_and_is_gone_with_the_body(new, tmp_path):
    data = random.Random(4).randbytes(3 * LONG)
    url = "data:video/mp4;base64," + base64.b64encode(data).decode()
    raw = json.dumps({"url": url, "short": "x"}).replace("/", "\\/").encode()  # as PHP writes it
    body = fed(new(), raw, 1000)
    found = body.parsed()
    spooled = found["url"]
    assert isinstance(spooled, SpooledText)
    assert spooled.characters == len(url)
    assert found["short"] == "x"
    assert b"".join(decoded(spooled.path)) == data
    body.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "raw, status, code",
    [
        (b'{"a": 1', 400, "invalid_json"),
        (b'{"a": "b', 400, "invalid_json"),
        (b'{"a": NaN}', 400, "invalid_json"),
        (b"[" * 200_000, 400, "invalid_json"),
        (b'{"a": "\xff"}', 400, "invalid_json"),
        (b"1" * 5000, 400, "invalid_json"),
        (b"[" + b"1," * (1 << 19) + b"1]", 413, "body_too_large"),
        (b'["' + b"A" * (1 << 24) + b'A"]', 413, "video_too_large"),
        (b'["' + b"\\n" * LONG + b'"]', 400, "invalid_value"),
        (b"[" + b",".join([b'"' + b"A" * (LONG + 1) + b'"'] * 65) + b"]", 400, "invalid_value"),
    ],
)
def test_what_is_no_json_or_too_large_is_refused(new, raw, status, code):
    body = new()
    with pytest.raises(ApiError) as error:
        fed(body, raw).parsed()
    assert (error.value.status, error.value.code) == (status, code)
    body.close()


@pytest.mark.parametrize(
    "text, bare",
    [
        ("data:video/mp4;base64,AA*A", False),
        ("data:video/mp4,AAAA", False),
        ("AAAA", False),
        ("http://elsewhere/", True),
        ("data:video/mp4;base64,A", False),
    ],
)
def test_what_is_no_base64_is_refused(tmp_path, text, bare):
    file = tmp_path / "text"
    file.write_text(text)
    with pytest.raises(ApiError, match=r"must read .*, got .*: "):
        list(decoded(file, bare=bare))


@pytest.mark.parametrize("head", ["data:video/mp4;base64,", "data:Video/MP4;codecs=avc1;base64,", ""])
def test_spellings_of_base64(tmp_path, head):
    data = bytes(range(250, 256)) * 5 + b"x"
    file = tmp_path / "text"
    for text in (
        base64.b64encode(data).decode(),
        base64.urlsafe_b64encode(data).decode().rstrip("="),
        base64.encodebytes(data).decode(),
    ):
        file.write_text(head + text)
        assert b"".join(decoded(file, bare=not head)) == data
