"""One piece of work at a time beside the caller."""

from threading import Event

import pytest

from bvllm.app.training.background import Background


def test_work_runs_beside_the_caller_and_one_after_the_other():
    background, may_end, done = Background(), Event(), []

    def first():
        assert may_end.wait(60)
        done.append(1)

    background.start(first)
    assert not done
    may_end.set()
    background.start(lambda: done.append(2))
    background.wait()
    assert done == [1, 2]


def test_an_error_is_raised_once_where_the_caller_waits():
    def fail():
        raise OSError("disk")

    background = Background()
    background.start(fail)
    with pytest.raises(OSError, match="disk"):
        background.start(lambda: None)
    background.wait()
