"""A disk that is full, or refuses: one clear line, the old index usable, nothing half-made left behind."""

import errno
import os
import resource
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from bvllm.index import IndexFailure, IndexFolder, disk
from tests.index.make import entry_of, is_right, key_of, names
from tests.index.processes import Child

LARGE = entry_of(2, frames=4000)


def test_a_limit_on_file_size(tmp_path):
    """The kernel's own refusal, in the middle of a write."""
    IndexFolder(tmp_path).write(key_of(1), entry_of(1))

    def work(say: Callable[[str], None]) -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        folder = IndexFolder(tmp_path)
        try:
            folder.write(key_of(2), LARGE)
        except IndexFailure as failure:
            say(str(failure))
        with folder.partial(key_of(3)) as journal:
            try:
                for start in range(0, 4000, 100):
                    journal.append(LARGE.features[start : start + 100], LARGE.seconds[start : start + 100])
            except IndexFailure as failure:
                say(f"{journal.count} {failure}")
        say(f"still right: {is_right(folder.find(key_of(1)), entry_of(1))}")

    line = "index folder must take large files, got a limit on file size: raise it (ulimit -f)"
    assert Child.start(work).wait() == [line, f"800 {line}", "still right: True"]
    left = [key_of(1).name + ".safetensors", key_of(3).name + ".partial"]
    assert names(tmp_path) == sorted(left)
    with IndexFolder(tmp_path).partial(key_of(3)) as journal:
        assert journal.count == 800


@pytest.mark.parametrize("when", ["create", "write", "sync", "rename", "sync_folder"])
@pytest.mark.parametrize(
    "number, says",
    [
        (errno.ENOSPC, "index folder must have room, got a full disk: free some space"),
        (errno.EDQUOT, "index folder must have room, got a full disk: free some space"),
        (errno.EROFS, "index folder must be writable, got no permission for"),
        (errno.EIO, "index folder must be usable, got Input/output error: check the disk"),
    ],
)
def test_whatever_fails_the_old_index_stays(when, number, says, tmp_path, monkeypatch):
    folder = IndexFolder(tmp_path)
    folder.write(key_of(1), entry_of(1))
    monkeypatch.setattr(disk, when, failing(getattr(disk, when), number))
    with pytest.raises(IndexFailure, match=says) as failure:
        folder.write(key_of(1), LARGE)
    assert "\n" not in str(failure.value)
    monkeypatch.undo()
    if when == "sync_folder":  # the new entry is in its place, only not sure to stay
        assert is_right(folder.find(key_of(1)), LARGE)
    else:
        assert is_right(folder.find(key_of(1)), entry_of(1))
    assert names(tmp_path) == [key_of(1).name + ".safetensors"]


def failing(do: Callable, number: int) -> Callable:
    """Half of the work, then the error; a writer's lock is still to be had."""

    def half_done(first, *args):
        if isinstance(first, Path) and first.name.endswith(".partial"):
            return do(first, *args)
        if do.__name__ == "write":
            os.pwrite(first, bytes(args[0])[: len(args[0]) // 2], args[1])
        raise OSError(number, os.strerror(number))

    return half_done


def test_a_journal_on_a_full_disk_keeps_what_it_had(tmp_path, monkeypatch):
    folder = IndexFolder(tmp_path)
    with folder.partial(key_of(2)) as journal:
        journal.append(LARGE.features[:8], LARGE.seconds[:8])
        monkeypatch.setattr(disk, "write", failing(disk.write, errno.ENOSPC))
        with pytest.raises(IndexFailure, match="got a full disk"):
            journal.append(LARGE.features[8:16], LARGE.seconds[8:16])
        with pytest.raises(IndexFailure, match="got a full disk"):
            journal.finish(LARGE.frame_map, LARGE.meta)
        monkeypatch.undo()
        assert journal.count == 8
        journal.append(LARGE.features[8:], LARGE.seconds[8:])
        assert is_right(journal.finish(LARGE.frame_map, LARGE.meta), LARGE)
