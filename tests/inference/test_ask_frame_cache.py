import gc
import os
from contextlib import suppress

import pytest
import torch

from bvllm.inference.frame_cache import FrameCache


def frames(count: int, size: tuple[int, int] = (4, 6), seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, *size), dtype=torch.uint8, generator=generator)


def test_frames_come_back_as_they_went_in_whatever_the_chunks():
    pictures = frames(11)
    with FrameCache((4, 6)) as store:
        for part in pictures.split([3, 1, 7]):
            store.append(part)
        assert len(store) == 11
        assert torch.equal(store.get(range(11)), pictures)
        assert torch.equal(store.get([10, 0, 10]), pictures[[10, 0, 10]])


def test_reading_between_two_appends_disturbs_neither():
    pictures = frames(4)
    with FrameCache((4, 6)) as store:
        store.append(pictures[:2])
        assert torch.equal(store.get([0]), pictures[:1])
        store.append(pictures[2:])
        assert torch.equal(store.get([3, 1]), pictures[[3, 1]])


def test_a_view_that_is_not_contiguous_is_stored_as_it_looks():
    pictures = frames(3, (6, 4)).transpose(2, 3)
    with FrameCache((4, 6)) as store:
        store.append(pictures)
        assert torch.equal(store.get([0, 1, 2]), pictures)


def test_no_frames_asked_for_are_no_frames():
    with FrameCache((4, 6)) as store:
        assert store.get([]).shape == (0, 3, 4, 6)


@pytest.mark.parametrize("index", [-1, 2])
def test_a_frame_that_is_not_there_is_refused(index):
    with FrameCache((4, 6)) as store:
        store.append(frames(2))
        with pytest.raises(ValueError, match=r"index must lie in 0\.\.1, got"):
            store.get([0, index])


@pytest.mark.parametrize("wrong", [frames(1, (6, 4)), frames(1).float()])
def test_frames_of_another_size_or_type_are_refused(wrong):
    with FrameCache((4, 6)) as store, pytest.raises(ValueError, match="frames must be uint8 of shape"):
        store.append(wrong)


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts descriptors in /proc")
def test_the_file_has_no_name_and_goes_with_the_store(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    store = FrameCache((4, 6))
    store.append(frames(5))
    assert list(tmp_path.iterdir()) == []
    assert len(_open_below(tmp_path)) == 1
    del store
    gc.collect()
    assert _open_below(tmp_path) == []


def _open_below(folder):
    """Open files of this process that were made in a folder, whether or not they have a name."""
    found = []
    for number in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # closed meanwhile
            found.append(os.readlink(f"/proc/self/fd/{number}"))
    return [path for path in found if path.startswith(str(folder))]
