import os
import signal
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


def test_a_worker_that_dies_is_said_to_have_died():
    said = r"a worker process died, .*: use fewer workers"
    with pytest.raises(ChildProcessError, match=said), processes(1) as pool:
        pool.submit(os._exit, 1).result()


def _stopped_in_the_middle_of_a_map() -> None:
    with processes(2) as pool:
        for _ in pool.map(time.sleep, [0.01] * 2000):
            raise KeyboardInterrupt


def test_nobody_prints_what_became_of_work_that_was_called_off(monkeypatch):
    """The pool's own thread must not meet dead workers before it knows that the rest is cancelled."""
    said = []
    monkeypatch.setattr(threading, "excepthook", said.append)
    for _ in range(4):
        before = threading.active_count()
        with pytest.raises(KeyboardInterrupt):
            _stopped_in_the_middle_of_a_map()
        deadline = time.monotonic() + 30
        while threading.active_count() > before and time.monotonic() < deadline:
            time.sleep(0.01)
    assert said == []


def _work(_: int) -> None:
    print(os.getpid(), flush=True)
    time.sleep(300)


def _leave_to_work() -> None:
    with processes(1) as pool:
        list(pool.map(_work, [0]))


def test_a_worker_ends_when_its_parent_is_killed():
    """By SIGKILL, of which the parent can tell nobody: the worker would go on beside that of the next run."""
    here = "from tests.common.test_processes import _leave_to_work; _leave_to_work()"
    parent = subprocess.Popen([sys.executable, "-c", here], stdout=subprocess.PIPE, text=True)
    worker = int(parent.stdout.readline())
    assert _is_there(worker)
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 60
    while _is_there(worker) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not _is_there(worker)
    assert parent.returncode == -signal.SIGKILL


def _is_there(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True
