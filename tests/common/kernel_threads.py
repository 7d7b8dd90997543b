"""One kernel thread for all who ask, and all as before when the last has left (see test_threads.py)."""

import threading
from collections.abc import Callable, Iterator

import pytest
import torch

from bvllm.common import threads
from bvllm.common.threads import map_in_order, one_kernel_thread

USUAL = 3


@pytest.fixture(autouse=True)
def _several_kernel_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(USUAL)
    yield
    torch.set_num_threads(before)


class Walker:
    """A thread that takes one step at a time, when it is told to."""

    def __init__(self) -> None:
        self._steps: list[Callable[[], object]] = []
        self._go, self._done = threading.Event(), threading.Event()
        self._got: object = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def __call__(self, step: Callable[[], object]) -> object:
        self._steps.append(step)
        self._done.clear()
        self._go.set()
        assert self._done.wait(60)
        return self._got

    def _run(self) -> None:
        while True:
            self._go.wait()
            self._go.clear()
            self._got = self._steps.pop()()
            self._done.set()


def of_a_new_thread() -> object:
    return Walker()(torch.get_num_threads)


@pytest.mark.parametrize("used_torch_before", [False, True])
@pytest.mark.parametrize("first_out", [0, 1])
def test_threads_that_overlap_run_on_one_and_leave_all_as_it_was(used_torch_before, first_out):
    walkers = [Walker(), Walker()]
    if used_torch_before:
        assert [walk(torch.get_num_threads) for walk in walkers] == [USUAL, USUAL]
    held = [one_kernel_thread(), one_kernel_thread()]
    for walk, hold in zip(walkers, held):
        walk(hold.__enter__)
    assert [walk(torch.get_num_threads) for walk in walkers] == [1, 1]
    last_out = 1 - first_out
    walkers[first_out](lambda: held[first_out].__exit__(None, None, None))
    assert walkers[last_out](torch.get_num_threads) == 1
    assert of_a_new_thread() == 1
    walkers[last_out](lambda: held[last_out].__exit__(None, None, None))
    assert [walk(torch.get_num_threads) for walk in walkers] == [USUAL, USUAL]
    assert of_a_new_thread() == USUAL
    assert torch.get_num_threads() == USUAL


def test_a_thread_with_a_number_of_its_own_gets_it_back():
    other = Walker()
    other(torch.get_num_threads)  # a thread's first look would undo what was set before it
    other(lambda: torch.set_num_threads(2))
    torch.set_num_threads(USUAL)
    hold = one_kernel_thread()
    with one_kernel_thread():
        other(hold.__enter__)
        assert other(torch.get_num_threads) == 1
    other(lambda: hold.__exit__(None, None, None))
    assert (other(torch.get_num_threads), torch.get_num_threads(), of_a_new_thread()) == (2, USUAL, USUAL)


def test_a_thread_may_nest():
    with one_kernel_thread():
        with one_kernel_thread():
            assert torch.get_num_threads() == 1
        assert (torch.get_num_threads(), of_a_new_thread()) == (1, 1)
    assert (torch.get_num_threads(), of_a_new_thread()) == (USUAL, USUAL)


def test_what_is_raised_ends_it_too():
    with pytest.raises(KeyError), one_kernel_thread():
        raise KeyError
    assert (torch.get_num_threads(), of_a_new_thread()) == (USUAL, USUAL)


def test_one_number_for_the_whole_process_is_kept_at_one_until_the_last_has_left(monkeypatch):
    """As in builds of torch without OpenMP."""
    number = [USUAL]
    monkeypatch.setattr(torch, "get_num_threads", lambda: number[0])
    monkeypatch.setattr(torch, "set_num_threads", lambda n: number.__setitem__(0, n))
    monkeypatch.setattr(
        torch.__config__, "parallel_info", lambda: "ATen parallel backend: native thread pool"
    )
    monkeypatch.setattr(threads, "_SETTING", threads._Setting())
    walkers, held = [Walker(), Walker()], [one_kernel_thread(), one_kernel_thread()]
    for walk, hold in zip(walkers, held):
        walk(hold.__enter__)
    walkers[0](lambda: held[0].__exit__(None, None, None))
    assert number == [1]
    walkers[1](lambda: held[1].__exit__(None, None, None))
    assert number == [USUAL]


def test_a_pool_keeps_to_one_where_its_owner_does():
    def look(_: int) -> int:
        with one_kernel_thread():
            pass
        return torch.get_num_threads()

    with one_kernel_thread():
        assert set(map_in_order(look, range(8), threads=2)) == {1}
    assert set(map_in_order(look, range(8), threads=2)) == {USUAL}
    assert of_a_new_thread() == USUAL


def test_a_pool_keeps_to_one_even_while_new_threads_would_not():
    """As in the moment when somebody else leaves."""
    with one_kernel_thread():
        torch.set_num_threads(USUAL)
        assert set(map_in_order(lambda _: torch.get_num_threads(), range(8), threads=2)) == {1}


def test_many_at_once_leave_no_trace():
    def often() -> None:
        for _ in range(50):
            with one_kernel_thread():
                assert torch.get_num_threads() == 1
            assert torch.get_num_threads() == USUAL

    running = [threading.Thread(target=often) for _ in range(6)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    assert of_a_new_thread() == USUAL
