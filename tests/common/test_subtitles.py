"""Subtitles of both formats as people's files hold them, and what is no subtitle."""

import pytest

from bvllm.common.subtitles import Cue, beside, parse_subtitles, read_subtitles, within

SRT = (
    "\ufeff1\r\n00:00:01,000 --> 00:00:03,500\r\n<i>Hello</i> {\\an8}there\r\nsecond line\r\n\r\n"
    "2\r\n00:01:05,25 --> 00:01:07,000 X1:10\r\n- Bye\r\n"
)
VTT = """WEBVTT - a title
Kind: captions

STYLE
::cue { color: red }

NOTE 00:00 --> nothing

first
00:01.000 --> 00:03.500 align:start
Hello <c.red>there</c>
second line

00:01:05.250 --> 00:01:07.000
- Bye

00:01:08.000 --> 00:01:09.000

"""
WANTED = (Cue(1.0, 3.5, "Hello there second line"), Cue(65.25, 67.0, "- Bye"))


@pytest.mark.parametrize("text", [SRT, VTT], ids=["srt", "vtt"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_both_formats_as_editors_write_them(tmp_path, text, encoding):
    file = tmp_path / "a.srt"
    file.write_bytes(text.encode(encoding))
    assert read_subtitles(file) == WANTED


def test_cues_are_put_in_order_and_overlaps_stay():
    found = parse_subtitles("00:05.000 --> 00:09.000\nb\n\n00:01.000 --> 00:06.000\na\n")
    assert [cue.text for cue in found] == ["a", "b"]
    assert within(found, 0, 5) == found[:1]
    assert within(found, 6, None) == found[1:]
    assert beside(found) == "Subtitles:\n00:01-00:06 a\n00:05-00:09 b\n"
    assert beside(()) == ""


@pytest.mark.parametrize(
    "data, says",
    [
        (b"", "hold a line with times"), (b"just words\n", "hold a line with times"),
        (b"1\n00:00:05,000 --> 00:00:01,000\nback\n", "end after they start"),
        ("caf\xe9".encode("latin-1"), "must be text in UTF-8"),
        (b"WEBVTT\n\n1:2 --> 3\nx", "hold a line with times"),
    ],
)  # fmt: skip
def test_what_is_no_subtitle_is_an_error_with_the_file(tmp_path, data, says):
    file = tmp_path / "a.vtt"
    file.write_bytes(data)
    with pytest.raises(ValueError, match=says) as caught:
        read_subtitles(file)
    assert "a.vtt" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_and_one_that_is_too_large(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="no such file"):
        read_subtitles(tmp_path / "none.srt")
    monkeypatch.setattr("bvllm.common.subtitles.MOST_BYTES", 10)
    (tmp_path / "large.srt").write_bytes(b"x" * 11)
    with pytest.raises(ValueError, match="at most 10 bytes"):
        read_subtitles(tmp_path / "large.srt")
