"""The size limit, the check, and what pruning takes away."""

import errno
import os
from dataclasses import replace

import pytest

from bvllm.index import IndexFailure, IndexFolder, disk
from bvllm.index.writer_lock import holding
from tests.index.make import entry_of, is_right, key_of, names, spoil_last

ENTRY_BYTES = 1500  # a little more than a small entry has


def entry_name(seed: int) -> str:
    return key_of(seed).name + ".safetensors"


@pytest.fixture
def folder(tmp_path) -> IndexFolder:
    """Room for three entries; 1, 2 and 3 are there, used in this order."""
    folder = IndexFolder(tmp_path, max_bytes=3 * ENTRY_BYTES)
    for seed in (1, 2, 3):
        folder.write(key_of(seed), entry_of(seed))
        os.utime(tmp_path / entry_name(seed), (seed, seed))
    return folder


def test_what_was_not_used_for_the_longest_time_goes(folder):
    folder.find(key_of(1))
    folder.write(key_of(4), entry_of(4))
    assert names(folder.path) == sorted(map(entry_name, (1, 3, 4)))


def test_what_was_just_written_stays_however_large(folder):
    large = entry_of(4, frames=400)
    folder.write(key_of(4), large)
    assert names(folder.path) == [entry_name(4)]
    assert is_right(folder.find(key_of(4)), large)


def test_who_has_an_entry_open_keeps_it(folder):
    video = folder.find(key_of(1))
    os.utime(video.path, (0, 0))
    folder.write(key_of(4), entry_of(4))
    assert not video.path.exists()
    assert is_right(video, entry_of(1))


def test_unfinished_videos_age_as_entries_do(folder):
    entry = entry_of(5)
    with folder.partial(key_of(5)) as journal:
        journal.append(entry.features, entry.seconds)
    os.utime(folder.path / (key_of(5).name + ".partial"), (0, 0))
    folder.write(key_of(4), entry_of(4))
    assert key_of(5).name + ".partial" not in names(folder.path)


def test_the_one_that_is_being_written_is_never_removed(folder):
    entry = entry_of(5)
    with folder.partial(key_of(5)) as journal:
        journal.append(entry.features, entry.seconds)
        os.utime(folder.path / (key_of(5).name + ".partial"), (0, 0))
        IndexFolder(folder.path, max_bytes=0).prune()
        assert names(folder.path) == [key_of(5).name + ".partial"]
        assert is_right(journal.finish(entry.frame_map, entry.meta), entry)


def spoil(folder: IndexFolder) -> None:
    """A damaged entry, a half-written one, an unfinished video, and two files that are none of ours."""
    path = folder.path / entry_name(1)
    spoil_last(path)
    (folder.path / (key_of(7).name + ".tmp")).write_bytes(b"half")
    entry = entry_of(8)
    with folder.partial(key_of(8)) as journal:
        journal.append(entry.features, entry.seconds)
    (folder.path / "notes.txt").write_text("mine")
    (folder.path / ("a" * 64 + ".mp4")).mkdir()


def test_the_check_names_everything_and_changes_nothing(folder):
    assert folder.check() == []
    (folder.path / (key_of(8).name + ".partial")).touch()
    spoil(folder)
    (folder.path / (key_of(7).name + ".tmp")).write_bytes(b"half")  # swept when the journal was opened
    before = names(folder.path)
    found = {(finding.kind, finding.name) for finding in folder.check()}
    assert found == {
        ("damaged", entry_name(1)),
        ("leftover", key_of(7).name + ".tmp"),
        ("partial", key_of(8).name + ".partial"),
        ("unknown", "notes.txt"),
        ("unknown", "a" * 64 + ".mp4"),
    }
    assert names(folder.path) == before


def test_pruning_takes_away_what_is_not_sound(folder):
    spoil(folder)
    (folder.path / (key_of(7).name + ".tmp")).write_bytes(b"half")
    removed = folder.prune()
    assert {finding.kind for finding in removed} == {"damaged", "leftover", "partial"}
    assert names(folder.path) == sorted([entry_name(2), entry_name(3), "notes.txt", "a" * 64 + ".mp4"])
    assert {finding.kind for finding in folder.check()} == {"unknown"}


def test_pruning_to_a_smaller_size(folder):
    removed = IndexFolder(folder.path, max_bytes=ENTRY_BYTES).prune()
    assert [(finding.kind, finding.name) for finding in removed] == [
        ("over_limit", entry_name(1)),
        ("over_limit", entry_name(2)),
    ]
    assert removed[0].bytes > 0
    assert names(folder.path) == [entry_name(3)]


def test_what_a_killed_writer_left_is_swept_by_the_next(folder):
    (folder.path / (key_of(7).name + ".tmp")).write_bytes(b"half")
    folder.write(key_of(2), entry_of(2))
    assert key_of(7).name + ".tmp" not in names(folder.path)


@pytest.mark.parametrize("data", [b"", b"half a record"])
@pytest.mark.parametrize("look", ["find", "write another"])
def test_a_journal_that_nobody_needs_goes(folder, data, look):
    """Its writer was killed between the entry's last step and the journal's."""
    journal = folder.path / (key_of(2).name + ".partial")
    journal.write_bytes(data)
    if look == "find":
        assert is_right(folder.find(key_of(2)), entry_of(2))
    else:
        folder.write(key_of(1), entry_of(1))
    assert not journal.exists()


def test_looking_does_not_disturb_a_writer(folder):
    entry = entry_of(2, frames=9)
    with folder.partial(key_of(2)) as journal:
        assert is_right(folder.find(key_of(2)), entry_of(2))
        folder.write(key_of(1), entry_of(1))
        journal.append(entry.features, entry.seconds)
        assert is_right(folder.find(key_of(2)), entry_of(2))
        assert is_right(journal.finish(entry.frame_map, entry.meta), entry)


def test_a_lock_is_given_up_without_taking_the_next_one_away(tmp_path):
    """Between the removal of a journal and the end of its lock, another writer may begin a new one."""
    journal = tmp_path / (key_of(1).name + ".partial")
    with holding(tmp_path, key_of(1).name):
        journal.unlink()
        next_one = disk.lock(journal)
        assert next_one is not None
    assert disk.is_still(next_one, journal)
    assert disk.lock(journal) is None
    os.close(next_one)


def test_a_journal_whose_entry_cannot_be_used_stays(folder):
    """It may hold hours of work."""
    entry = entry_of(1)
    spoil_last(folder.path / entry_name(1))
    with folder.partial(key_of(1)) as journal:
        journal.append(entry.features, entry.seconds)
    folder.write(key_of(4), entry_of(4))  # sweeps
    assert key_of(1).name + ".partial" in names(folder.path)


def test_what_goes_for_its_size_is_told(tmp_path):
    told = []
    folder = IndexFolder(tmp_path, max_bytes=ENTRY_BYTES, tell=told.append)
    for seed in (1, 2):
        folder.write(key_of(seed), entry_of(seed))
    assert [(finding.kind, finding.name) for finding in told] == [("over_limit", entry_name(1))]
    plain = IndexFolder(tmp_path, max_bytes=ENTRY_BYTES)
    with pytest.warns(UserWarning, match="above the size limit"):
        plain.write(key_of(3), entry_of(3))


def test_the_size_limit_is_one_for_all_commands(tmp_path, monkeypatch):
    assert IndexFolder(tmp_path).max_bytes == 10_000_000_000
    monkeypatch.setenv("BVLLM_INDEX_MAX_GB", "0.5")
    assert IndexFolder(tmp_path).max_bytes == 500_000_000
    assert IndexFolder(tmp_path, max_bytes=7).max_bytes == 7
    for wrong in ("much", "-1", "inf", "nan"):
        monkeypatch.setenv("BVLLM_INDEX_MAX_GB", wrong)
        with pytest.raises(ValueError, match="BVLLM_INDEX_MAX_GB must be a number of gigabytes, got"):
            IndexFolder(tmp_path)


def test_no_more_open_files_is_no_fault_of_an_entry(folder, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("bvllm.index.mapped.mmap.mmap", full)
    with pytest.raises(IndexFailure, match="got the limit on open files: raise it"):
        folder.find(key_of(1))


def test_a_folder_that_cannot_be_listed_is_one_clear_failure(folder, monkeypatch):
    def closed(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr("bvllm.index.upkeep.os.scandir", closed)
    with pytest.raises(IndexFailure, match="got no permission for"):
        folder.entries()


@pytest.mark.parametrize("made_at", [1e300, -5.0, float("nan")])
def test_a_time_that_cannot_be_is_refused_before_anything_is_written(made_at):
    with pytest.raises(ValueError, match="made_at"):
        replace(entry_of(6).meta, made_at=made_at)
