"""Side data and durations of a packet after which a stream is not decoded in part."""

import io

import av
import pytest
from av.packet import PacketSideData

from bvllm.video.bitstream import CODEC_RULES
from bvllm.video.packets import Packets
from tests.video import make

KINDS = {"palette": 0, "new_extradata": 1, "param_change": 2}  # FFmpeg's numbers


@pytest.fixture
def packets():
    with av.open(io.BytesIO(make.video(frames=4))) as container:
        return [packet for packet in container.demux(video=0) if packet.size]


@pytest.mark.parametrize("kind, ends", [("palette", False), ("new_extradata", True), ("param_change", True)])
def test_new_settings_beside_a_packet(packets, kind, ends):
    extra = bytes(packets[0].stream.codec_context.extradata)
    walk = Packets(CODEC_RULES["h264"], extra)
    walk.add(packets[0])
    assert walk.rules is not None
    beside = PacketSideData(KINDS[kind], 4)
    assert beside.data_type == kind
    beside.update(bytes(4))
    packets[1].set_sidedata(beside)
    walk.add(packets[1])
    assert (walk.rules is None) == ends
    assert walk.shown == 2


@pytest.mark.parametrize("lasts", [1 << 31, 1 << 40, -1])
def test_a_frame_that_lasts_for_ever(packets, lasts):
    walk = Packets(CODEC_RULES["h264"], bytes(packets[0].stream.codec_context.extradata))
    packets[0].duration = lasts
    walk.add(packets[0])
    assert walk.rules is None
    assert walk.shown == 1
