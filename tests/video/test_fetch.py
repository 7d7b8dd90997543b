"""Frames that were read once are found again, pixel for pixel."""

import io

import numpy as np
import pytest
import torch

from bvllm.video import FrameList, FrameMap, Limits, SamplingPlan, VideoError, fetch_frames, read_video
from tests.video import make

PLAN = SamplingPlan(fps=2.0)
SIZE = (32, 48)
CASES = {
    "h264": {"b_frames": 3},
    "h264 open gop": {"b_frames": 3, "options": {"x264-params": "open-gop=1:rc-lookahead=0"}},
    "h264 matroska": {"b_frames": 2, "format": "matroska"},
    "h264 mpegts": {"b_frames": 2, "format": "mpegts"},
    "hevc": {"codec": "libx265", "b_frames": 3},
    "vp9": {"codec": "libvpx-vp9", "format": "webm"},
    "mpeg2": {"codec": "mpeg2video", "format": "mpegts", "b_frames": 2, "fps": 25},
}
WANTED = [7, 0, 3, 3, 4, 1]


def gathered(source, plan=PLAN, **options) -> tuple[torch.Tensor, FrameMap | None]:
    with read_video(source, plan, size=SIZE, **options) as video:
        return torch.cat([chunk.pixels for chunk in video]), video.frame_map


@pytest.mark.parametrize("decode", ["auto", "all"])
@pytest.mark.parametrize("case", CASES)
def test_the_pixels_are_those_of_the_reading(case, decode, short_too):
    data = make.video(600 if "h264" in case else 110, **CASES[case])
    pixels, found = gathered(data, decode=decode)
    wanted = [w for w in [*WANTED, len(pixels) - 1, 70, 90] if w < len(pixels)]
    assert (found is None) == (decode == "all")
    for threads in (1, 2):
        fetched = fetch_frames(data, wanted, found, plan=PLAN, size=SIZE, threads=threads)
        assert torch.equal(fetched, pixels[wanted])


def test_a_map_is_made_where_everything_was_decoded_too(short_too, monkeypatch):
    data = make.video(60, b_frames=2)
    sparse, part = gathered(data)
    monkeypatch.setattr("bvllm.video.sparse.WORTH", 1000)
    dense, whole = gathered(data)
    assert part is not None
    assert whole is not None
    assert torch.equal(sparse, dense)
    for name, array in part.to_arrays().items():
        assert np.array_equal(array, whole.to_arrays()[name])


def test_a_map_is_complete_only_at_the_end(short_too):
    with read_video(make.video(60), PLAN, chunk=1) as video:
        chunks = iter(video)
        next(chunks)
        assert video.frame_map is None
        list(chunks)
        assert video.frame_map is not None


def test_a_map_travels_as_arrays(short_too):
    data = make.video(60, b_frames=2)
    pixels, found = gathered(data)
    arrays = found.to_arrays()
    again = FrameMap.from_arrays(arrays)
    assert len(again) == len(pixels)
    assert torch.equal(fetch_frames(data, WANTED, again, plan=PLAN, size=SIZE), pixels[WANTED])
    assert sum(array.nbytes for array in arrays.values()) < 64 * len(pixels) + 64


@pytest.mark.parametrize("spoil", [
    lambda arrays: arrays.pop("sizes"),
    lambda arrays: arrays.update(stream=arrays["stream"] + 1),
    lambda arrays: arrays.update(stream=arrays["stream"][:2]),
    lambda arrays: arrays["stream"].__setitem__(3, 17),  # deeper than any decoder
    lambda arrays: arrays["stream"].__setitem__(3, -1),
    lambda arrays: arrays.update(pts=arrays["pts"][:-1]),
    lambda arrays: arrays.update(pts=arrays["pts"][::-1]),
    lambda arrays: arrays.update(pts=arrays["pts"].astype(np.float64)),
    lambda arrays: arrays.update(groups=arrays["groups"] + 100),
    lambda arrays: arrays.update(packets=arrays["packets"] - 1000),
    lambda arrays: arrays.update(entries=arrays["entries"][:, :2]),
])  # fmt: skip
def test_spoilt_maps_are_refused(spoil, short_too):
    arrays = gathered(make.video(60))[1].to_arrays()
    spoil(arrays)
    with pytest.raises(ValueError, match="frame map must"):
        FrameMap.from_arrays(arrays)


@pytest.mark.parametrize("other", [
    {"frames": 20}, {"frames": 60, "gop": 7}, {"frames": 60, "times": [3 * n for n in range(60)]},
    {"frames": 60, "width": 96},
])  # fmt: skip
def test_another_video_is_noticed(other, short_too):
    found = gathered(make.video(60, b_frames=2))[1]
    with pytest.raises(VideoError) as caught:
        fetch_frames(make.video(**other), [5, 9], found, plan=PLAN, size=SIZE)
    assert caught.value.kind == "changed"


def test_without_a_map_decoding_begins_at_the_start():
    data = make.video(60)
    pixels, found = gathered(data)
    assert found is None
    assert torch.equal(fetch_frames(data, WANTED, None, plan=PLAN, size=SIZE), pixels[WANTED])
    with pytest.raises(VideoError, match=f"one of the {len(pixels)} .* got 50") as caught:
        fetch_frames(data, [50], None, plan=PLAN, size=SIZE)
    assert caught.value.kind == "usage"


def test_frames_in_memory():
    frames = FrameList(torch.arange(10, dtype=torch.uint8).expand(4, 4, 10).permute(2, 0, 1)[:, None]
                       .expand(-1, 3, -1, -1), [n / 2 for n in range(10)])  # fmt: skip
    fetched = fetch_frames(frames, [3, 1], None, plan=SamplingPlan(fps=1.0))
    assert fetched[:, 0, 0, 0].tolist() == [6, 2]


@pytest.mark.parametrize("wanted", [[], [-1], [12], [3, 99]])
def test_numbers_out_of_range(wanted, short_too):
    data = make.video(60)
    with pytest.raises(ValueError, match="wanted must be"):
        fetch_frames(data, wanted, gathered(data)[1], plan=PLAN)


def test_limits_hold(short_too):
    data = make.video(60)
    found = gathered(data)[1]
    with pytest.raises(VideoError) as caught:
        fetch_frames(data, [5], found, plan=PLAN, limits=Limits(max_wall_seconds=1e-9))
    assert caught.value.kind == "limit"
    with pytest.raises(VideoError) as caught:
        fetch_frames(data, [5], found, plan=PLAN, limits=Limits(max_bytes=100))
    assert caught.value.kind == "limit"


def test_pictures_of_several_sizes_need_a_size():
    data = make.video(5, format="h264") + make.video(5, format="h264", width=128, height=96)
    every = SamplingPlan(fps=None)
    with pytest.raises(VideoError, match="one size"):
        fetch_frames(data, [0, 9], None, plan=every)
    assert fetch_frames(data, [0, 9], None, plan=every, size=SIZE).shape == (2, 3, *SIZE)


def test_a_limit_met_on_the_way_from_the_start_is_no_other_video():
    with pytest.raises(VideoError, match="frames must be decoded within the limits, got limit") as error:
        fetch_frames(io.BytesIO(make.video(frames=40, fps=4)), [8], None, limits=Limits(max_decoded_frames=9))
    assert error.value.kind == "limit"
