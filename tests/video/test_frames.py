"""Pictures that are in memory already."""

import gc
import io

import av
import numpy as np
import pytest
import torch
from PIL import Image

from bvllm.video import FrameList, SamplingPlan, VideoError, probe, read_video
from bvllm.video.frames import FrameConverter, Orientation, from_matrix, resize
from tests.video import make


def numbers(frames: FrameList, plan: SamplingPlan, **options) -> list[int]:
    with read_video(frames, plan, **options) as video:
        return [make.number_on(pixels) for chunk in video for pixels in chunk.pixels]


def kinds_of_frames() -> dict[str, object]:
    arrays = [make.picture(k) for k in range(4)]
    return {
        "arrays": arrays,
        "images": [Image.fromarray(a) for a in arrays],
        "with alpha": [np.dstack([a, np.full(a.shape[:2], 255, np.uint8)]) for a in arrays],
        "grey": [a[..., 0] for a in arrays],
        "palette": [Image.fromarray(a).convert("P") for a in arrays],
        "tensor": torch.stack([torch.from_numpy(a).permute(2, 0, 1) for a in arrays]),
    }


@pytest.mark.parametrize("kind", kinds_of_frames())
def test_all_kinds_of_pictures(kind):
    frames = FrameList(kinds_of_frames()[kind], (5.0, 5.5, 6.0, 9.0))
    assert numbers(frames, SamplingPlan(None)) == [0, 1, 2, 3]
    assert numbers(frames, SamplingPlan(1.0)) == [0, 2, 3]
    assert numbers(frames, SamplingPlan(None, max_frames=2)) == [1, 3]


def test_seconds_and_report():
    frames = FrameList([make.picture(k) for k in range(4)], (5.0, 5.5, 6.0, 9.0))
    with read_video(frames, SamplingPlan(1.0), size=(8, 8)) as video:
        (chunk,) = video
    assert chunk.seconds.tolist() == [0.0, 1.0, 4.0]
    report = video.report
    assert (report.asked, report.got, report.skipped, report.complete) == (7, 3, 4, True)


def test_one_picture_is_a_clip_of_one_frame():
    frames = FrameList([Image.fromarray(make.picture(9))], [0])
    assert numbers(frames, SamplingPlan()) == [9]
    assert probe(frames).still


def test_pictures_are_turned_upright():
    out = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.rot90(make.picture(5)).copy()).save(out, "PNG", exif=exif)
    assert numbers(FrameList([Image.open(out)], [0.0]), SamplingPlan()) == [5]


def test_the_caller_s_array_is_not_shared():
    array = make.picture(1)
    with read_video(FrameList([array], [0.0])) as video:
        (chunk,) = video
    chunk.pixels.zero_()
    assert array.max() == 235


@pytest.mark.parametrize("frames, seconds, message", [
    ([np.zeros((4, 4), np.uint8)], [0, 1], "seconds must have one value per frame, got 2 for 1 frames"),
    ([], [], "frames must hold at least one picture"),
    ([np.zeros((4, 4), np.uint8)] * 2, [0, 0], "seconds must ascend strictly"),
    ([np.zeros((4, 4), np.uint8)], [float("nan")], "seconds must be finite"),
    (torch.zeros(1, 3, 4, 4), [0], "frames must be uint8"),
    (torch.zeros(1, 4, 4, 3, dtype=torch.uint8), [0], "frames must be uint8"),
    ([np.zeros((4, 4), np.float32)], [0], "frame 0 must be a PIL image or a uint8 array"),
    (["a.png"], [0], "frame 0 must be a PIL image or a uint8 array .* got str"),
])  # fmt: skip
def test_wrong_frames_are_refused(frames, seconds, message):
    with pytest.raises(VideoError, match=message) as caught:
        read_video(FrameList(frames, seconds))
    assert caught.value.kind in ("usage", "empty")


def test_resizing_agrees_with_pillow():
    """Two grey levels at most: integer arithmetic, antialiased. Float arithmetic would be off by twelve."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (90, 160, 3), np.uint8)
    ours = resize(torch.from_numpy(image).permute(2, 0, 1), (32, 48)).permute(1, 2, 0).numpy().astype(int)
    theirs = np.asarray(Image.fromarray(image).resize((48, 32), Image.Resampling.BICUBIC)).astype(int)
    assert np.abs(ours - theirs).max() <= 2


@pytest.mark.parametrize("matrix, want", [
    ((1, 0, 0, 1), Orientation()),
    ((0, 1, -1, 0), Orientation(90)),
    ((-1, 0, 0, -1), Orientation(180)),
    ((0, -1, 1, 0), Orientation(270)),
    ((-1, 0, 0, 1), Orientation(0, mirrored=True)),
    ((1, 0, 0, -1), Orientation(180, mirrored=True)),
    ((0, 0, 0, 0), Orientation()),
])  # fmt: skip
def test_display_matrices(matrix, want):
    a, b, c, d = (value << 16 for value in matrix)
    assert from_matrix(np.array([a, b, 0, c, d, 0, 0, 0, 1 << 30], np.int32).tobytes()) == want


@pytest.mark.parametrize("colour_space", range(16))
def test_colours_that_ffmpeg_cannot_convert_are_read_as_the_usual_ones(colour_space):
    frame = av.VideoFrame.from_ndarray(np.full((24, 16), 128, np.uint8), format="yuv420p")
    frame.colorspace = colour_space
    assert FrameConverter(None, 1.0, None, 1 << 20).convert(frame).shape == (3, 16, 16)


def test_converting_frames_leaves_none_of_them_to_the_collector():
    """A frame of eight megapixels takes 30 MB: a cycle would keep it for as long as nothing else is made."""
    converter = FrameConverter((8, 8), 1.0, None, 1 << 20)
    gc.collect()
    gc.disable()
    try:
        before = sum(isinstance(thing, av.VideoFrame) for thing in gc.get_objects())
        for level in range(20):
            frame = av.VideoFrame.from_ndarray(np.full((24, 16), level, np.uint8), format="yuv420p")
            converter.convert(frame)
        del frame
        assert sum(isinstance(thing, av.VideoFrame) for thing in gc.get_objects()) <= before + 1
    finally:
        gc.enable()
