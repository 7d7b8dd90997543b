"""Half an index: the frames that are safe are used, the rest is made again, nothing torn is believed."""

import os
from dataclasses import replace

import pytest
import torch

from bvllm.index import IndexEntry, IndexFailure, IndexFolder, partial
from tests.index.make import entry_of, is_right, key_of, meta_of, names, rows_of, times

CHUNK = 4
ENTRY = entry_of(1, frames=18)


@pytest.fixture
def folder(tmp_path) -> IndexFolder:
    return IndexFolder(tmp_path)


def append(journal: partial.PartialEntry, until: int, entry: IndexEntry = ENTRY) -> None:
    for start in range(journal.count, until, CHUNK):
        stop = min(start + CHUNK, until)
        journal.append(entry.features[start:stop], entry.seconds[start:stop])


def test_what_is_finished_in_one_go_is_the_entry(folder):
    with folder.partial(key_of(1)) as journal:
        assert journal.count == 0
        append(journal, 18)
        assert is_right(journal.finish(ENTRY.frame_map, ENTRY.meta), ENTRY)
    assert is_right(folder.find(key_of(1)), ENTRY)
    assert names(folder.path) == [key_of(1).name + ".safetensors"]


def test_the_bytes_do_not_tell_whether_it_was_interrupted(folder, tmp_path):
    sound = IndexFolder(tmp_path / "whole").write(key_of(1), ENTRY).path.read_bytes()
    for until in (8, 12, 18):
        with folder.partial(key_of(1)) as journal:
            append(journal, until)
    with folder.partial(key_of(1)) as journal:
        assert journal.count == 18
        assert journal.finish(ENTRY.frame_map, ENTRY.meta).path.read_bytes() == sound


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_features_of_half_the_width(folder, dtype):
    entry = replace(ENTRY, features=rows_of(1, 18, dtype))
    with folder.partial(key_of(1)) as journal:
        append(journal, 8, entry)
    with folder.partial(key_of(1)) as journal:
        append(journal, 18, entry)
        assert is_right(journal.finish(entry.frame_map, entry.meta), entry)


def journal_of(folder: IndexFolder, frames: int) -> tuple[os.PathLike, bytes]:
    with folder.partial(key_of(1)) as journal:
        append(journal, frames)
    path = folder.path / (key_of(1).name + ".partial")
    return path, path.read_bytes()


def test_a_journal_cut_anywhere_is_used_up_to_its_last_whole_record(folder):
    path, sound = journal_of(folder, 12)
    record = len(sound) // 3
    for length in reversed(range(1, len(sound))):
        os.truncate(path, length)
        descriptor = os.open(path, os.O_RDWR)
        journal = partial.PartialEntry(folder.path, key_of(1), descriptor)
        assert journal.count == CHUNK * (length // record)
        assert os.fstat(descriptor).st_size == length // record * record
        os.pwrite(descriptor, sound[:length], 0)
        os.close(descriptor)


def test_a_flipped_byte_ends_what_is_believed(folder):
    path, sound = journal_of(folder, 8)
    record = len(sound) // 2
    descriptor = os.open(path, os.O_RDWR)
    for place, byte in enumerate(sound):
        os.pwrite(descriptor, bytes([byte ^ 0x10]), place)
        assert partial.PartialEntry(folder.path, key_of(1), descriptor).count == CHUNK * (place // record)
        os.pwrite(descriptor, sound, 0)
    assert partial.PartialEntry(folder.path, key_of(1), descriptor).count == 8
    os.close(descriptor)


@pytest.mark.parametrize("change", ["swapped", "repeated", "another's", "without its first", "zeros"])
def test_records_count_in_their_order_and_for_their_key_only(folder, change):
    path, sound = journal_of(folder, 8)
    first, second = sound[: len(sound) // 2], sound[len(sound) // 2 :]
    name, data, left = {
        "swapped": (path.name, second + first, 0),
        "repeated": (path.name, first + first, 4),
        "another's": (key_of(2).name + ".partial", sound, 0),
        "without its first": (path.name, second, 0),
        "zeros": (path.name, first + bytes(len(second)), 4),
    }[change]
    path.unlink()
    (folder.path / name).write_bytes(data)
    with folder.partial(key_of(2 if change == "another's" else 1)) as journal:
        assert journal.count == left


def test_a_huge_record_is_not_read(folder):
    path, _ = journal_of(folder, 4)
    head = b"bvj1" + b"F32\0" + (1 << 31).to_bytes(4, "little") + (1 << 31).to_bytes(4, "little")
    with path.open("r+b") as file:
        file.write(head)
        file.truncate(1 << 40)
    with folder.partial(key_of(1)) as journal:
        assert journal.count == 0


def test_the_end_can_be_taken_back(folder):
    with folder.partial(key_of(1)) as journal:
        append(journal, 18)
        journal.rewind(17)
        assert journal.count == 16
        append(journal, 18)
        assert is_right(journal.finish(ENTRY.frame_map, ENTRY.meta), ENTRY)


def test_nothing_stays_of_a_journal_that_holds_nothing(folder):
    with folder.partial(key_of(1)):
        assert names(folder.path) == [key_of(1).name + ".partial"]
    assert names(folder.path) == []
    with folder.partial(key_of(1)) as journal, pytest.raises(ValueError, match="must hold at least 1 frame"):
        journal.finish({}, meta_of(1))


def test_an_error_of_the_callers_keeps_its_type_and_the_frames(folder):
    def interrupted() -> None:
        with folder.partial(key_of(1)) as journal:
            append(journal, 8)
            (folder.path / "none").stat()

    with pytest.raises(FileNotFoundError):
        interrupted()
    with folder.partial(key_of(1)) as journal:
        assert journal.count == 8


def test_one_video_has_one_kind_of_features(folder):
    with folder.partial(key_of(1)) as journal:
        append(journal, 4)
        with pytest.raises(
            ValueError, match=r"type and width before, \('F32', 4\), got \('F16', 4\): use one"
        ):
            journal.append(rows_of(0, 4).half(), times(4))
        with pytest.raises(ValueError, match=r"got \('F32', 5\)"):
            journal.append(rows_of(0, 4, channels=5), times(4))
        assert journal.count == 4


def test_what_the_disk_gives_back_wrong_is_not_made_an_entry(folder):
    with folder.partial(key_of(1)) as journal:
        append(journal, 8)
        path = folder.path / (key_of(1).name + ".partial")
        with path.open("r+b") as file:
            file.seek(-1, os.SEEK_END)
            file.write(b"?")
        with pytest.raises(IndexFailure, match="index folder must keep what was written, got other bytes"):
            journal.finish({}, meta_of(1))
    assert folder.find(key_of(1)) is None
    with folder.partial(key_of(1)) as journal:
        assert journal.count == 4


def test_bytes_are_synced_at_intervals(folder, monkeypatch):
    synced = []
    monkeypatch.setattr(partial.disk, "sync", synced.append)
    clock = iter(range(100))
    monkeypatch.setattr(partial.time, "monotonic", lambda: 2.0 * next(clock))
    with folder.partial(key_of(1)) as journal:
        append(journal, 16)
        assert 1 < len(synced) < 4
