"""Entries: what goes in comes out, bit for bit, in one small file."""

import os
import stat

import numpy as np
import pytest
import torch
from safetensors import safe_open

from bvllm.index import IndexEntry, IndexFailure, IndexFolder
from tests.index.make import entry_of, is_right, key_of, meta_of, names, rows_of, times


@pytest.fixture
def folder(tmp_path) -> IndexFolder:
    return IndexFolder(tmp_path / "below" / "index")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_what_was_written_is_found(folder, dtype):
    entry = entry_of(1, dtype=dtype)
    assert folder.find(key_of(1)) is None
    assert is_right(folder.write(key_of(1), entry), entry)
    found = folder.find(key_of(1))
    assert is_right(found, entry)
    assert (len(found), found.key, found.bytes) == (6, key_of(1), found.path.stat().st_size)
    assert (found.meta.name, found.meta.duration) == ("1.mp4", 4.0)
    assert names(folder.path) == [key_of(1).name + ".safetensors"]
    assert folder.find(key_of(2)) is None


def test_the_file_is_an_ordinary_safetensors_file(folder):
    entry = entry_of(1)
    with safe_open(folder.write(key_of(1), entry).path, "pt") as file:
        assert set(file.keys()) == {"features", "seconds", "map.pts", "map.key"}
        assert torch.equal(file.get_tensor("features"), entry.features)
        assert len(file.metadata()["sha256"]) == 64


def test_a_frame_takes_its_features_its_time_and_little_more(folder):
    frames, channels = 3600, 128
    features = rows_of(0, frames, channels=channels)
    video = folder.write(
        key_of(1), IndexEntry(features, times(frames), {"pts": np.arange(frames)}, meta_of(1))
    )
    assert video.bytes < frames * (4 * channels + 8 + 8) + 4096
    assert video.bytes < frames * 4096


def test_every_type_of_number_comes_back_in_its_shape(folder):
    types = "f8 i8 u8 f4 i4 u4 f2 i2 u2 i1 u1 b1".split()
    maps = {code: np.ones((2, 3), dtype=code) for code in types}
    maps |= {"none": np.zeros((0, 4)), "one": np.array(5), "swapped": np.arange(3, dtype=">i4")}
    found = folder.write(key_of(1), IndexEntry(rows_of(0, 2), times(2), maps, meta_of(1))).frame_map
    for name, array in maps.items():
        assert np.array_equal(found[name], array), name
        assert found[name].dtype == array.dtype.newbyteorder("<"), name


def test_features_are_read_from_the_file_and_outlive_its_name(folder):
    entry = entry_of(1)
    video = folder.write(key_of(1), entry)
    video.path.unlink()
    folder.write(key_of(1), entry_of(2))
    assert torch.equal(video.features, entry.features)


def test_writing_to_a_tensor_changes_no_file(folder):
    folder.write(key_of(1), entry_of(1)).features.zero_()
    assert is_right(folder.find(key_of(1)), entry_of(1))


def test_an_entry_is_replaced_in_one_step(folder):
    folder.write(key_of(1), entry_of(1))
    folder.write(key_of(1), entry_of(2, frames=9))
    assert is_right(folder.find(key_of(1)), entry_of(2, frames=9))
    assert len(names(folder.path)) == 1


def test_the_list_tells_what_the_headers_say(folder):
    for seed in (1, 2, 3):
        folder.write(key_of(seed), entry_of(seed))
        os.utime(folder.path / (key_of(seed).name + ".safetensors"), (seed, seed))
    listed = folder.entries()
    assert [entry.meta.name for entry in listed] == ["3.mp4", "2.mp4", "1.mp4"]
    assert (listed[0].frames, listed[0].channels, listed[0].used_at) == (6, 4, 3.0)
    assert listed[0].bytes == listed[1].bytes > 6 * 4 * 4
    assert [video.meta.name for video in folder.videos()] == sorted(
        (entry.meta.name for entry in listed), key=lambda name: key_of(int(name[0])).name
    )
    assert list(folder.videos(tower="another")) == []
    assert len(list(folder.videos(tower="tower"))) == 3


def test_an_index_that_is_not_there_is_empty(tmp_path):
    folder = IndexFolder(tmp_path / "nowhere")
    assert folder.find(key_of(1)) is None
    assert (folder.entries(), list(folder.videos()), folder.check(), folder.prune()) == ([], [], [], [])
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize(
    "features, seconds, says",
    [
        (torch.zeros(3), times(3), r"features must be a matrix \(T, C\) .* got shape \(3,\): give"),
        (torch.zeros(0, 4), times(0), r"features must be a matrix .* got shape \(0, 4\): give"),
        (torch.zeros(3, 4), times(2), r"seconds must have one entry for each frame \(3\), got .*\(2,\): cut"),
        (torch.zeros(2, 4), torch.tensor([1.0, 1.0]), r"seconds must be finite and ascend, got \[1.0, 1.0\]"),
        (torch.zeros(1, 4), torch.tensor([float("nan")]), "seconds must be finite and ascend, got"),
        (
            torch.zeros(2, 4, dtype=torch.int64),
            times(2),
            "features must be float32, .* got torch.int64: conv",
        ),
    ],
)
def test_what_fits_no_entry_is_refused(folder, features, seconds, says):
    with pytest.raises(ValueError, match=says):
        folder.write(key_of(1), IndexEntry(features, seconds, {}, meta_of(1)))
    with folder.partial(key_of(1)) as partial, pytest.raises(ValueError, match=says):
        partial.append(features, seconds)
    assert names(folder.path) == []


def test_a_frame_map_holds_numbers_only(folder):
    wrong = {"names": np.array(["a"])}
    with pytest.raises(
        ValueError, match=r"map.names must be an array of plain numbers, got one of <U1: conv"
    ):
        folder.write(key_of(1), IndexEntry(rows_of(0, 2), times(2), wrong, meta_of(1)))


def test_a_header_has_its_limit(folder):
    maps = {f"{k}" * 4000: np.zeros(1) for k in range(300)}
    with pytest.raises(ValueError, match=r"index header must have at most 1048576 bytes, got .*: shorten"):
        folder.write(key_of(1), IndexEntry(rows_of(0, 2), times(2), maps, meta_of(1)))
    assert names(folder.path) == []


def test_a_limit_below_nothing_is_refused(tmp_path):
    with pytest.raises(ValueError, match="max_bytes must be at least 0, got -1: allow"):
        IndexFolder(tmp_path, max_bytes=-1)


def test_a_folder_that_is_a_file_is_told_in_one_line(tmp_path):
    (tmp_path / "file").write_text("mine")
    folder = IndexFolder(tmp_path / "file")
    assert folder.find(key_of(1)) is None
    with pytest.raises(IndexFailure, match=r"index folder must be a folder, got '.*file': choose another"):
        folder.write(key_of(1), entry_of(1))
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_index_is_read_and_not_written(folder):
    folder.write(key_of(1), entry_of(1))
    folder.path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        assert is_right(folder.find(key_of(1)), entry_of(1))
        with pytest.raises(IndexFailure, match="index folder must be writable"):
            folder.write(key_of(2), entry_of(2))
    finally:
        folder.path.chmod(0o700)


def test_a_planted_link_or_pipe_is_neither_followed_nor_waited_for(folder, tmp_path):
    folder.write(key_of(1), entry_of(1))
    (tmp_path / "mine").write_text("mine")
    for seed, suffix in ((2, ".partial"), (3, ".tmp")):
        (folder.path / (key_of(seed).name + suffix)).symlink_to(tmp_path / "mine")
    os.mkfifo(folder.path / (key_of(4).name + ".safetensors"))
    with pytest.raises(IndexFailure, match="index folder must be usable, got"):
        folder.write(key_of(2), entry_of(2))
    folder.write(key_of(3), entry_of(3))
    told = []
    assert IndexFolder(folder.path, tell=told.append).find(key_of(4)) is None
    assert [finding.kind for finding in told] == ["unreadable"]
    assert (tmp_path / "mine").read_text() == "mine"
