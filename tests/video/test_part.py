"""A part of a video: its frames are those of the whole video, with their times, in every way of reading."""

import pytest
import torch

from bvllm.video import FrameList, SamplingPlan, VideoError, fetch_frames, read_video
from tests.video import make

PARTS = ((0.0, None), (1.5, None), (0.0, 2.5), (1.0, 4.0), (2.3, 2.4), (3.95, 4.05), (5.5, 6.0))
RATES = ((None, None), (1.0, None), (3.7, None), (10.0, 4))
SIZE = (24, 32)


def read(source, plan, **options):
    with read_video(source, plan, size=SIZE, **options) as video:
        chunks = list(video)
        seconds = [s for chunk in chunks for s in chunk.seconds.tolist()]
        return torch.cat([chunk.pixels for chunk in chunks]), seconds, video.report, video.frame_map


@pytest.fixture(
    scope="module", params=[{"b_frames": 2}, {"format": "mpegts"}, {"codec": "libvpx-vp9", "format": "webm"}]
)
def data(request):
    return make.video(60, **request.param)


@pytest.mark.parametrize("part", PARTS)
def test_every_frame_of_a_part_is_that_of_the_whole(data, part):
    start, end = part
    pixels, seconds, _, _ = read(data, SamplingPlan(fps=None))
    inside = [k for k, s in enumerate(seconds) if s >= start - 1e-6 and (end is None or s < end - 1e-6)]
    found, times, report, _ = read(data, SamplingPlan(fps=None, start=start, end=end))
    assert times == [seconds[k] for k in inside]
    assert torch.equal(found, pixels[inside])
    assert not report.warnings
    frames = FrameList(pixels, seconds)
    assert read(frames, SamplingPlan(fps=None, start=start, end=end))[1] == times


@pytest.mark.parametrize("part", PARTS[1:])
@pytest.mark.parametrize("rate", RATES[1:])
def test_in_part_as_whole_and_again(data, part, rate, short_too):
    plan = SamplingPlan(*rate, *part)
    pixels, seconds, _, _ = read(data, plan, decode="all")
    for threads in (1, 2):
        found, times, report, frame_map = read(data, plan, threads=threads)
        assert report.sparse
        assert times == seconds
        assert torch.equal(found, pixels)
        assert torch.equal(fetch_frames(data, range(len(times)), frame_map, plan=plan, size=SIZE), pixels)
    assert times[0] >= part[0] - 1e-6
    assert part[1] is None or times[-1] < part[1]
    assert report.decoded < 60 or part[1] is None


@pytest.mark.parametrize("decode", ["all", "auto"])
def test_a_part_that_shows_nothing_is_an_error(data, decode, short_too):
    for part in ((60.0, None), (2.31, 2.39)):
        with pytest.raises(VideoError, match="must show a frame") as caught:
            read(data, SamplingPlan(1.0, None, *part), decode=decode)
        assert caught.value.kind == "usage"
