"""Parse packets: entries, B pictures, layers, and forms that count as unknown."""

import io

import av
import pytest

from bvllm.video.bitstream import CODEC_RULES, UNKNOWN, av1, h264, hevc, mpeg2, mpeg4, vp9
from tests.video import make

CASES = {
    "h264 mp4": {"b_frames": 2},
    "h264 mpegts": {"format": "mpegts", "b_frames": 2},
    "hevc mp4": {"codec": "libx265"},
    "hevc mpegts": {"codec": "libx265", "format": "mpegts"},
    "mpeg2 mpegts": {"codec": "mpeg2video", "format": "mpegts", "fps": 25, "b_frames": 2},
    "mpeg4 mp4": {"codec": "mpeg4", "b_frames": 2},
    "vp9 webm": {"codec": "libvpx-vp9", "format": "webm"},
    "av1 mp4": {"codec": "libsvtav1"},
}


def packets(data: bytes):
    with av.open(io.BytesIO(data)) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        for packet in container.demux(stream):
            if packet.size:
                yield context.name, bytes(context.extradata or b""), bytes(packet), packet.is_keyframe


@pytest.mark.parametrize("case", CASES)
def test_key_frames_of_our_encoders_are_entries_and_no_others(case):
    entries = 0
    for name, extra, data, is_key in packets(make.video(40, **CASES[case])):
        info = CODEC_RULES[name].parse_packet(data, extra)
        assert info.known
        assert info.entry == is_key
        entries += info.entry
    assert entries > 1


def test_an_i_picture_that_does_not_cut_references_is_no_entry():
    options = {"x264-params": "open-gop=1:rc-lookahead=0"}
    infos = [
        (h264(data, extra), is_key)
        for _, extra, data, is_key in packets(make.video(40, b_frames=2, options=options))
    ]
    assert sum(is_key for _, is_key in infos) > 1
    assert sum(info.entry for info, _ in infos) == 1


def test_higher_layers_are_reported():
    options = {"x265-params": make.OTHERS["libx265"]["x265-params"] + ":temporal-layers=3"}
    data = make.video(40, codec="libx265", b_frames=3, options=options)
    assert any(hevc(packet, extra).layered for _, extra, packet, _ in packets(data))


@pytest.mark.parametrize("parse_packet, data", [
    (h264, b"\0\0\1\x42\xff"),  # data partitioning
    (h264, b"\0\0\0"),
    (h264, b"\0\0\1\x41\x9a\0\0\1\x41\x9a"),  # two pictures
    (h264, b"\0\0\1\x41\x5a"),  # the beginning is missing
    (h264, b"\0\0\1\x41\x9a\0\0\1\x67\x42"),  # settings of the next one
    (hevc, b"\0\0\1\x02\x01\xd0\0\0\1\x02\x01\xd0"),  # two pictures
    (hevc, b"\0\0\1\x4e\x01\x80\x01\xff\x13\x01\0\0\0\1\x02\x01\xd0"),  # film grain, second message
    (hevc, b"\0\0\1\x02"),
    (mpeg2, b"\0\0\1\0\0\x08\0\0\0\1\0\0\x08\0\0\0\1\1"),  # two pictures
    (mpeg2, b"\0\0\1\0\0\x08\0\0\0\1\xb5\x30\0\0\0\0\0\1\1"),  # matrices of its own
    (mpeg2, b"\0\0\1\0\0\x08\0\0\0\1\xb5\x80\0\0\1\0\0\0\1\1"),  # one field
    (mpeg4, b"\0\0\1\xb6\x10\0\0\1\xb6\x50\0"),  # two pictures
    (mpeg4, b"\0\0\x80\x02"),  # H.263 inside
    (vp9, b"\x00\x00"),
    (vp9, b"\xb2\x00"),
    (av1, b"\x0a"),
    (av1, b"\x0a\x01\x18\x32\x01\x10"),  # still picture, short header
    (av1, b""),
])  # fmt: skip
def test_unknown_forms(parse_packet, data):
    assert parse_packet(data, b"") == UNKNOWN


@pytest.mark.parametrize("case, some", [
    ({}, False),
    ({"b_frames": 2}, True),
    ({"b_frames": 2, "options": {"x264-params": "slices=4"}}, True),
    ({"codec": "mpeg2video", "format": "mpegts", "fps": 25}, False),
    ({"codec": "mpeg2video", "format": "mpegts", "fps": 25, "b_frames": 2}, True),
    ({"codec": "mpeg4"}, False),
    ({"codec": "mpeg4", "b_frames": 2}, True),
    ({"codec": "libvpx-vp9", "format": "webm"}, False),
])  # fmt: skip
def test_b_pictures_are_reported_as_reordering(case, some):
    found = packets(make.video(40, **case))
    infos = [CODEC_RULES[name].parse_packet(data, extra) for name, extra, data, _ in found]
    assert all(info.known for info in infos)
    assert any(info.reorders for info in infos) == some


def test_several_slices_are_one_picture_and_film_grain_is_parsed_apart_from_other_messages():
    assert h264(b"\0\0\1\x41\x9a\0\0\1\x41\x5a", b"").known
    plain = b"\0\0\1\x4e\x01\x05\x02\x13\x13\x80\0\0\1\x02\x01\xd0"  # 19 in a message's body only
    assert hevc(plain, b"").known
