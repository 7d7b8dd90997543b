"""Pictures in order, few at a time, whatever the number of threads; nothing stays behind."""

import random
import threading
import time
from contextlib import closing
from itertools import islice

import pytest
import torch

from bvllm.video import parallel
from bvllm.video.parallel import InOrder

PICTURES = 5


class Counting:
    """Makes five pictures for each task, some slowly."""

    open = 0

    def __init__(self, halted, fails_at: int = -1) -> None:
        type(self).open += 1
        self.halted, self.fails_at = halted, fails_at

    def pictures(self, task: int):
        for number in range(PICTURES):
            if task == self.fails_at and number == 2:
                raise KeyError(task)
            time.sleep(random.random() / 2000)
            yield torch.full((3, 4, 4), task * PICTURES + number)

    def close(self) -> None:
        type(self).open -= 1


def numbers(pictures) -> list[int]:
    return [int(picture[0, 0, 0]) for picture in pictures]


@pytest.fixture(autouse=True)
def nothing_left():
    before = threading.active_count()
    yield
    assert threading.active_count() == before
    assert Counting.open == 0


@pytest.mark.parametrize("threads", [1, 2, 5, 50])
def test_in_order(threads):
    with closing(InOrder(range(12), Counting, threads)) as pictures:
        assert numbers(pictures) == list(range(12 * PICTURES))


def test_few_are_in_memory(monkeypatch):
    monkeypatch.setattr(parallel, "MOST_BYTES", 7 * 384)
    pictures = InOrder(range(30), Counting, 4)
    most = 0
    for _ in pictures:
        most = max(most, sum(len(ready) for ready in pictures._ready))
    assert most <= 7 + parallel.HEAD_HOLDS


def test_one_that_is_larger_than_the_room_gets_through(monkeypatch):
    monkeypatch.setattr(parallel, "MOST_BYTES", 1)
    assert numbers(InOrder(range(6), Counting, 3)) == list(range(6 * PICTURES))


def test_an_error_comes_after_the_pictures_before_it():
    pictures = iter(InOrder(range(9), lambda halted: Counting(halted, fails_at=4), 3))
    assert numbers(islice(pictures, 4 * PICTURES + 2)) == list(range(4 * PICTURES + 2))
    with pytest.raises(KeyError):
        next(pictures)


def test_leaving_early_stops_the_threads():
    pictures = InOrder(range(1000), Counting, 3)
    source = iter(pictures)
    next(source)
    source.close()
    assert pictures._head < 3


def test_an_interrupt_stops_the_threads():
    pictures = iter(InOrder(range(1000), Counting, 3))
    next(pictures)
    with pytest.raises(KeyboardInterrupt):
        pictures.throw(KeyboardInterrupt)
