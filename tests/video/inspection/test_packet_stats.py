"""One walk over the packets: what it counts, and how much of a video sampling must decode."""

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest

from bvllm.video import Limits, SamplingPlan, VideoError
from bvllm.video.inspection.packet_stats import packet_stats
from tests.video.make import repeated, sound, video


def test_packets_keys_and_steps_are_counted():
    seen = packet_stats(repeated(4, fps=24, gop=12))
    assert (seen.packets, seen.hidden, seen.untimed, seen.repeated) == (48, 0, 0, 0)
    assert seen.is_key[::12].all()
    assert seen.keys == seen.is_key.sum()
    assert seen.key_steps.greatest <= 0.5 + 1e-9
    assert seen.frame_steps.middle == pytest.approx(1 / 24)
    assert (seen.first_seconds, seen.seconds) == (0.0, pytest.approx(2.0))
    assert (seen.streams.videos, seen.streams.sounds, seen.edited, seen.stopped) == (1, 0, False, False)
    assert (seen.picture.bits, seen.picture.interlaced, seen.picture.hdr) == (8, False, None)
    assert len(seen.pts) == len(seen.is_key) == 48


def test_irregular_times_show_in_the_steps():
    seen = packet_stats(video(4, times=[0, 1, 2, 100], tick=Fraction(1, 10)))
    assert seen.frame_steps.greatest == pytest.approx(9.8)
    assert seen.frame_steps.least == pytest.approx(0.1)


def test_raw_streams_carry_no_times():
    seen = packet_stats(video(10, format="h264"))
    assert seen.untimed == 10
    assert seen.first_seconds is None
    assert seen.decoded_for(SamplingPlan(1.0)) == (10, seen.keys)


@pytest.fixture(scope="module")
def clips():
    return {b_frames: video(96, fps=24, gop=10, b_frames=b_frames) for b_frames in (0, 2)}


@pytest.mark.parametrize("b_frames", [0, 2])
@pytest.mark.parametrize("fps", [0.3, 1.0, 2.5, 24.0])
def test_what_must_be_decoded_reaches_from_each_key_to_the_last_wanted_picture(clips, fps, b_frames):
    """Against a count by hand, packet by packet."""
    seen = packet_stats(clips[b_frames])
    shown = sorted(range(96), key=lambda k: seen.pts[k])
    wanted = set()
    for k in range(int(seen.pts.max() * fps + 1e-9) + 1):
        wanted.add(next(p for p in shown if seen.pts[p] >= k / fps - 1e-6))
    packets = groups = 0
    starts = [*np.flatnonzero(seen.is_key), 96]
    for begin, end in pairwise(starts):
        inside = [p for p in wanted if begin <= p < end]
        packets += max(inside) - begin + 1 if inside else 0
        groups += bool(inside)
    assert seen.decoded_for(SamplingPlan(fps)) == (packets, groups)


def test_every_frame_wanted_is_every_packet_decoded():
    seen = packet_stats(video(48, fps=24, gop=12))
    assert seen.decoded_for(SamplingPlan(None)) == (48, seen.keys)


def test_a_limit_stops_the_walk_and_is_reported():
    seen = packet_stats(video(48), Limits(max_decoded_frames=10))
    assert (seen.packets, seen.stopped) == (10, True)


def test_the_summary_is_made_of_plain_values():
    summary = packet_stats(video(12)).summary()
    assert summary["picture"]["bits"] == 8
    assert not {"pts", "is_key", "is_hidden"} & summary.keys()


def test_what_is_no_video_is_refused_as_read_video_does():
    with pytest.raises(VideoError) as refused:
        packet_stats(sound())
    assert refused.value.kind == "no_video"
