"""Who waits for another writer says so, and does not wait for an inactive one."""

import os
import signal
import time
from collections.abc import Callable

import pytest

from bvllm.index import HeldElsewhere, IndexFolder, writer_lock
from bvllm.index.writer_lock import wait_for_lock
from tests.index.make import entry_of, is_right, key_of, names
from tests.index.processes import Child


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(writer_lock, "HEARTBEAT_SECONDS", 0.1)
    monkeypatch.setattr(writer_lock, "SILENT_SECONDS", 1.0)
    monkeypatch.setattr(writer_lock, "POLL_SECONDS", 0.02)


def holder(folder, seconds: float) -> Child:
    """A process that holds the journal of key 1 for so long, without writing a byte."""

    def work(say: Callable[[str], None]) -> None:
        with wait_for_lock(folder, key_of(1).name, lambda: None):
            say("holds it")
            time.sleep(seconds)

    child = Child.start(work)
    assert os.read(child.said, 64) == b"holds it\n"
    return child


def test_one_that_is_at_work_is_waited_for_however_long(tmp_path):
    told = []
    child = holder(tmp_path, 2.5)
    folder = IndexFolder(tmp_path, tell=told.append)
    assert is_right(folder.write(key_of(1), entry_of(1)), entry_of(1))
    assert [(finding.kind, finding.why) for finding in told] == [
        ("busy", "another process is indexing this video: waiting for it")
    ]
    assert child.wait() == []


def test_one_that_was_suspended_is_not(tmp_path):
    child = holder(tmp_path, 60.0)
    os.kill(child.pid, signal.SIGSTOP)
    folder = IndexFolder(tmp_path, tell=lambda finding: None)
    started = time.monotonic()
    with pytest.raises(HeldElsewhere, match="must not be locked by an inactive process, got one"):
        folder.write(key_of(1), entry_of(1))
    assert 1.0 <= time.monotonic() - started < 10.0
    folder.write(key_of(2), entry_of(2))  # only that video is held
    os.kill(child.pid, signal.SIGCONT)
    child.kill()
    assert is_right(folder.write(key_of(1), entry_of(1)), entry_of(1))
    assert names(tmp_path) == sorted(key_of(k).name + ".safetensors" for k in (1, 2))


def test_nobody_is_told_where_nobody_waits(tmp_path):
    told = []
    IndexFolder(tmp_path, tell=told.append).write(key_of(1), entry_of(1))
    assert told == []
