import os
import subprocess
import sys
import threading
import time

import pytest

from bvllm.common.processes import processes


def _settings(_: int) -> tuple[int, str]:
    import torch

    return torch.get_num_threads(), os.environ["OMP_NUM_THREADS"]


def test_work_is_done_elsewhere_on_one_kernel_thread():
    with processes(1) as pool:
        assert list(pool.map(_settings, [0])) == [(1, "1")]
        assert pool.submit(os.getpid).result() != os.getpid()


def _stopped_while_a_worker_sleeps() -> None:
    with processes(1) as pool:
        pool.submit(os.getpid).result()
        pool.submit(time.sleep, 100)
        raise KeyboardInterrupt


def test_what_is_raised_ends_the_workers_at_once():
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        _stopped_while_a_worker_sleeps()
    assert time.monotonic() - started < 60


PARENT = """
import os, time
from bvllm.common.processes import processes
if __name__ == "__main__":
    with processes(1) as pool:
        print(pool.submit(os.getpid).result(), flush=True)
        time.sleep(100)
"""


def test_workers_end_with_a_parent_that_is_killed(tmp_path):
    """What it was told to print into stays open for as long as one of them lives."""
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as parent:
        assert int(parent.stdout.readline()) != parent.pid
        parent.kill()
        assert parent.communicate(timeout=60) == ("", None)


def test_a_worker_that_dies_is_said_to_have_died():
    said = r"a worker process died, .*: use fewer workers"
    with pytest.raises(ChildProcessError, match=said), processes(1) as pool:
        pool.submit(os._exit, 1).result()


def _stopped_in_the_middle_of_a_map() -> None:
    with processes(2) as pool:
        for _ in pool.map(time.sleep, [0.01] * 2000):
            raise KeyboardInterrupt


def test_nobody_prints_what_became_of_work_that_was_called_off(monkeypatch):
    """The pool's own thread must not meet dead workers before it knows that the rest is cancelled.

    Nor may it outlive the block: at its exit Python writes into the pipe that this thread is closing.
    """
    said = []
    monkeypatch.setattr(threading, "excepthook", said.append)
    for _ in range(4):
        before = set(threading.enumerate())
        with pytest.raises(KeyboardInterrupt):
            _stopped_in_the_middle_of_a_map()
        left = set(threading.enumerate()) - before
        assert not [thread for thread in left if "ExecutorManager" in type(thread).__name__]
    assert said == []
