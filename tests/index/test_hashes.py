"""What a file is: read once, and again whenever anything about it changed."""

import errno
import hashlib
import os
import time

import pytest

from bvllm.index import IndexFolder, hashes
from bvllm.video import VideoError


@pytest.fixture
def video(tmp_path):
    path = tmp_path / "video.mp4"
    path.write_bytes(b"frames" * 1000)
    return path


@pytest.fixture
def folder(tmp_path, monkeypatch) -> IndexFolder:
    """An index in which nothing is too fresh to be remembered."""
    monkeypatch.setattr(hashes, "SETTLED_SECONDS", -10.0)
    (tmp_path / "index").mkdir()
    return IndexFolder(tmp_path / "index")


@pytest.fixture
def reads(monkeypatch) -> list:
    """One entry for each time that a file is hashed."""
    found = []
    monkeypatch.setattr(hashes, "hash_file", lambda file: found.append(file) or hash_file(file))
    return found


hash_file = hashes.hash_file


def test_it_is_the_sha_256_of_the_bytes(folder, video, reads):
    for _ in range(3):
        assert folder.content(video).sha256 == hashlib.sha256(video.read_bytes()).hexdigest()
    assert len(reads) == 1


@pytest.mark.parametrize("change", ["same length", "old time put back", "replaced", "touched"])
def test_any_change_is_seen(folder, video, change, reads):
    before, status = folder.content(video), video.stat()
    other = b"other!" * 1000
    if change == "replaced":
        beside = video.with_suffix(".new")
        beside.write_bytes(other)
        os.utime(beside, ns=(status.st_atime_ns, status.st_mtime_ns))
        beside.rename(video)
    elif change == "touched":
        os.utime(video)
    else:
        video.write_bytes(other)
        if change == "old time put back":
            os.utime(video, ns=(status.st_atime_ns, status.st_mtime_ns))
    after = folder.content(video)
    assert after.sha256 == hashlib.sha256(video.read_bytes()).hexdigest()
    assert (after.sha256 == before.sha256) is (change == "touched")
    assert after.identity != before.identity
    assert len(reads) == 2


def test_a_file_that_was_just_written_is_not_remembered(folder, video, monkeypatch, reads):
    """A second change within a clock's tick would not show."""
    monkeypatch.setattr(hashes, "SETTLED_SECONDS", 1e6)
    folder.content(video)
    folder.content(video)
    assert len(reads) == 2


def test_a_file_that_changes_while_it_is_read_is_refused(folder, video, monkeypatch):
    def slow(file):
        found = hash_file(file)
        with video.open("ab") as other:
            other.write(b"more")
        return found

    monkeypatch.setattr(hashes, "hash_file", slow)
    with pytest.raises(VideoError, match=r"video must stay as it is while it is read, got .* changing"):
        folder.content(video)


@pytest.mark.parametrize("damage", ["torn", "flipped", "emptied", "garbage"])
def test_a_damaged_memory_is_forgotten(folder, video, damage, reads):
    right = folder.content(video)
    log = folder.path / "contents.log"
    data = bytearray(log.read_bytes())
    if damage == "flipped":
        data[70] ^= 1
    log.write_bytes({"torn": data[:-3], "emptied": b"", "garbage": os.urandom(500)}.get(damage, data))
    assert folder.content(video) == right
    assert folder.content(video) == right
    assert len(reads) == 2


def test_the_memory_has_a_limit(folder, video, monkeypatch, reads):
    monkeypatch.setattr(hashes, "MAX_LOG_BYTES", 2000)
    for k in range(40):
        path = video.with_name(f"{k}.mp4")
        path.write_bytes(b"%d" % k)
        folder.content(path)
    assert (folder.path / "contents.log").stat().st_size < 2500
    folder.content(path)
    assert len(reads) == 40


def test_an_index_that_is_not_there_remembers_nothing(tmp_path, video):
    assert IndexFolder(tmp_path / "nowhere").content(video).sha256
    assert not (tmp_path / "nowhere").exists()


def test_a_remembered_file_is_found_at_once(folder, video):
    with video.open("wb") as file:
        file.truncate(64 << 20)
    folder.content(video)
    started = time.process_time()
    folder.content(video)
    assert time.process_time() - started < 0.02


@pytest.mark.parametrize("kind", ["missing", "empty", "not_regular"])
def test_what_is_no_video_file_is_said_so(folder, tmp_path, kind):
    path = tmp_path / kind
    if kind == "empty":
        path.touch()
    elif kind == "not_regular":
        os.mkfifo(path)
    with pytest.raises(VideoError) as error:
        folder.content(path)
    assert error.value.kind == kind


def test_a_time_of_change_in_the_future_is_remembered_like_any_other(folder, video, reads):
    os.utime(video, (4e9, 4e9))
    assert folder.content(video) == folder.content(video)
    assert len(reads) == 1


def test_a_memory_that_the_disk_does_not_give_back_is_none(folder, video, monkeypatch, reads):
    def fails(*_):
        raise OSError(errno.EIO, "Input/output error")

    first = folder.content(video)
    monkeypatch.setattr(hashes.disk, "read", fails)
    assert folder.content(video) == first
    assert len(reads) == 2
