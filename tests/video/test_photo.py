"""Pictures and films with more than one picture, stream or frame in their file: one rule, which is told."""

import io

import av
import numpy as np
import pytest
from PIL import Image

from bvllm.video import SamplingPlan, VideoError, read_video
from bvllm.video.photo import read_photo
from tests.video import make


def picture(level=200, size=(64, 48)):
    pixels = np.random.default_rng(level).integers(0, 60, (size[1], size[0], 3), dtype=np.uint8)
    pixels[..., 0] += np.uint8(level - 60)
    return Image.fromarray(pixels)


def packed(first, form, **options):
    out = io.BytesIO()
    first.save(out, form, **options)
    return out.getvalue()


def seen(data):
    with read_video(data, SamplingPlan(fps=None)) as stream:
        pixels = [frame for chunk in stream for frame in chunk.pixels.numpy()]
        return pixels, [warning for warning in stream.report.warnings if warning.kind == "several"]


def animated(form):
    pictures = [picture(level) for level in (70, 120, 170, 220)]
    return packed(pictures[0], form, save_all=True, append_images=pictures[1:], duration=500)


def two_streams(sizes, form):
    """The first is red, the second blue."""
    out = io.BytesIO()
    with av.open(out, "w", format=form) as container:
        streams = []
        for width, height in sizes:
            stream = container.add_stream("mpeg4", rate=10)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            streams.append(stream)
        for k in range(10):
            for channel, stream in zip((0, 2), streams, strict=True):
                pixels = np.zeros((stream.height, stream.width, 3), np.uint8)
                pixels[..., channel] = 220
                frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                frame.pts = k
                container.mux(stream.encode(frame))
        for stream in streams:
            container.mux(stream.encode())
    return out.getvalue()


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("behind", ["picture", "film", "smaller picture", "map"])
def test_of_a_photo_with_more_behind_it_the_first_picture_is_read(progressive, behind):
    """Phones write a depth map, a brighter version or a second of film behind the picture."""
    first = packed(picture(), "JPEG", progressive=progressive)
    more = {
        "picture": packed(picture(90), "JPEG"),
        "smaller picture": packed(picture(90, (32, 24)), "JPEG"),
        "film": make.video(8),
        "map": bytes(range(1, 256)) * 20,
    }[behind]
    alone, told = seen(first)
    assert not told
    found, told = seen(first + more)
    assert len(found) == 1
    assert np.array_equal(found[0], alone[0])
    assert "the first alone is read" in told[0].text


def test_a_photo_of_several_pictures_as_cameras_write_it():
    several = packed(picture(), "MPO", save_all=True, append_images=[picture(90)])
    found, told = seen(several)
    assert len(found) == len(told) == 1
    assert abs(found[0][0].mean() - np.asarray(picture())[..., 0].mean()) < 4


def test_filling_behind_a_picture_is_nothing_and_a_cut_one_is_cut():
    data = packed(picture(), "JPEG", progressive=True)
    assert not seen(data + bytes(700))[1]
    assert read_photo(io.BytesIO(data[: len(data) // 2])).end is None
    for size in range(2, 60):  # headers cut anywhere
        assert read_photo(io.BytesIO(data[:size])).end is None


def test_the_end_is_found_where_a_mark_lies_across_two_blocks(monkeypatch):
    data = packed(picture(), "JPEG", progressive=True)
    for block in (2, 3, 7, 64):
        monkeypatch.setattr("bvllm.video.photo.BLOCK", block)
        assert read_photo(io.BytesIO(data + b"more")).end == len(data)


@pytest.mark.parametrize("form", ["GIF", "PNG", "AVIF"])
def test_an_animation_is_a_video(form):
    found, told = seen(animated(form))
    assert len(found) == 4
    assert len(told) == (form == "AVIF"), "it holds its first picture once more, as a still"
    levels = [frame[0].mean() for frame in found]
    assert levels == sorted(levels)
    assert levels[-1] - levels[0] > 100


def test_an_animated_webp_is_refused_by_name_and_is_not_called_corrupt():
    with pytest.raises(
        VideoError, match="animation, which FFmpeg does not decode: convert it to GIF"
    ) as caught:
        seen(animated("WEBP"))
    assert caught.value.kind == "unsupported_codec"
    assert len(seen(packed(picture(), "WEBP"))[0]) == 1


@pytest.mark.parametrize(
    "form, sizes, red",
    [
        ("mp4", [(64, 48), (128, 96)], True),
        ("matroska", [(128, 96), (64, 48)], True),
        ("mpegts", [(64, 48), (128, 96)], False),
    ],
)
def test_of_several_streams_one_is_read_and_it_is_told_which(form, sizes, red):
    found, [told] = seen(two_streams(sizes, form))
    assert len(found) == 10
    assert bool(found[0][0].mean() > found[0][2].mean()) is red
    size = sizes[0] if red else sizes[1]
    assert f"2 video streams in one file, that of {size[0]}x{size[1]} is read" in told.text
