"""Pictures and videos of rows: read, or named with what is wrong."""

import pytest
import torch
from PIL import Image

from bvllm.data.dialogue import Media
from bvllm.data.encode import read_media
from bvllm.data.faults import InvalidRow
from bvllm.video import Limits, SamplingPlan
from tests.data.rows import picture, video

PLAN = SamplingPlan(fps=1.0)


def read(kind, path, root=None, limits=None):
    return read_media(Media(kind, path, root or path.parent), "rows.json:4 (row 2)", PLAN, (16, 16), limits)


def test_a_video_is_sampled_and_a_picture_is_one_frame(tmp_path):
    clip = read("video", video(tmp_path / "a.mp4", frames=8, fps=2))
    assert clip.pixels.shape == (4, 3, 16, 16)
    assert clip.seconds.tolist() == [0, 1, 2, 3]
    for kind in ("image", "video"):
        still = read(kind, picture(tmp_path / "b.png"))
        assert still.pixels.shape == (1, 3, 16, 16)
        assert still.seconds.tolist() == [0]


def test_bytes_are_media_too(tmp_path):
    path = video(tmp_path / "a.mp4")
    from_bytes = read_media(Media("video", path.read_bytes()), "a", PLAN, (16, 16))
    assert torch.equal(from_bytes.pixels, read("video", path).pixels)


def half(path):
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    return path


def empty(path):
    path.write_bytes(b"")
    return path


def words(path):
    path.write_bytes(b"no picture at all")
    return path


@pytest.mark.parametrize(
    "kind, make, fault, says",
    [
        ("image", lambda p: p / "no.jpg", "missing", "video must exist"),
        ("image", lambda p: empty(p / "a.jpg"), "media", "must hold bytes, got none"),
        ("image", lambda p: words(p / "a.jpg"), "media", "a.jpg: "),
        ("image", lambda p: half(picture(p / "a.jpg", side=200)), "truncated", "must be whole, got trunc"),
        ("video", lambda p: half(video(p / "a.avi", frames=60)), "truncated", "must be whole, got trunc"),
        ("image", lambda p: video(p / "a.mp4"), "media", "an image must be one picture, got several frames"),
        ("video", lambda p: p, "media", "must be a regular file"),
    ],
)  # fmt: skip
def test_bad_media_are_named(tmp_path, kind, make, fault, says):
    with pytest.raises(InvalidRow) as error:
        read(kind, make(tmp_path), tmp_path)
    assert error.value.fault.kind == fault
    assert error.value.fault.where == "rows.json:4 (row 2)"
    assert says in error.value.fault.reason
    assert "\n" not in str(error.value)


def test_a_picture_of_no_size_is_bad(tmp_path):
    path = tmp_path / "a.bmp.png"
    Image.new("RGB", (1, 1)).save(path)
    data = bytearray(path.read_bytes())
    data[16:24] = bytes(8)  # width and height
    path.write_bytes(data)
    with pytest.raises(InvalidRow) as error:
        read("image", path)
    assert error.value.fault.kind in ("media", "truncated")


def test_a_moving_gif_is_no_image(tmp_path):
    frames = [Image.new("RGB", (8, 8), (60 * k, 0, 0)) for k in range(4)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    with pytest.raises(InvalidRow, match="an image must be one picture, got several frames"):
        read("image", tmp_path / "a.gif")


def test_what_leads_out_of_the_folder_is_not_opened(tmp_path):
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "a.png").symlink_to(picture(tmp_path / "b.png"))
    with pytest.raises(InvalidRow) as error:
        read("image", inside / "a.png", inside, Limits())
    assert error.value.fault.kind == "outside_root"


def test_a_video_beyond_its_limits_is_not_whole(tmp_path):
    path = video(tmp_path / "a.mp4", frames=12, fps=2)
    with pytest.raises(InvalidRow, match="a file must be whole, got limit:"):
        read("video", path, limits=Limits(max_seconds=2.0))
