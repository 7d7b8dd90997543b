"""benchmarks/walks.py counts what its docstring says, on a package of three small files."""

import importlib.util
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from benchmarks.walks import Hop, Walk, Watch, room

FIRST = """
import numbers_of_second as second

def once():
    return second.double(1)

def often():
    for k in range(5):
        second.double(k)
    return sorted([3, 1], key=second.Key)

def own():
    return sum(len([j]) for j in range(3)) + (lambda: here())()

def here():
    return 1

def elsewhere(pool):
    return pool.submit(second.double, 1).result()
"""
SECOND = """
def double(k):
    return 2 * helper(k)

def helper(k):
    return k

class Key:
    def __init__(self, k):
        self.k = k

    def __lt__(self, other):
        return self.k < other.k
"""


@pytest.fixture
def first(tmp_path, monkeypatch):
    """A module in the room `one` that calls another in the room `two`, imported from files."""
    for name, folder, text in (("numbers_of_second", "two", SECOND), ("numbers_of_first", "one", FIRST)):
        file = tmp_path / folder / f"{name}.py"
        file.parent.mkdir()
        file.write_text(text)
        spec = importlib.util.spec_from_file_location(name, file)
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
    return module


A, B = "one/numbers_of_first.py", "two/numbers_of_second.py"


def test_a_function_called_from_another_file_is_one_hop_however_often_it_is_called(first, tmp_path):
    walk = Watch(tmp_path).during(lambda: [first.once(), first.once()])
    assert walk.files == {A, B}
    assert walk.hops == Counter({Hop(A, B, "double"): 2})  # helper is called from its own file
    assert walk.row() == (2, 1, 1)


def test_what_the_library_calls_for_a_file_is_called_by_that_file(first, tmp_path):
    walk = Watch(tmp_path).during(lambda: sorted([2, 1], key=first.second.Key))
    assert walk.row() == (1, 0, 0)  # called from here, which is no file of the package
    hops = Watch(tmp_path).during(first.often).hops
    assert hops == {
        Hop(A, B, "double"): 5,
        Hop(A, B, "Key.__init__"): 2,
        Hop(A, B, "Key.__lt__"): 1,
    }


def test_an_error_ends_the_watch(tmp_path):
    with pytest.raises(ZeroDivisionError):
        Watch(tmp_path).during(lambda: 1 / 0)
    assert sys.getprofile() is None


def test_steps_inside_a_file_comprehensions_and_lambdas_are_no_hops(first, tmp_path):
    assert Watch(tmp_path).during(first.own).row() == (1, 0, 0)


def test_a_thread_is_watched_but_nobody_called_its_first_function(first, tmp_path):
    with ThreadPoolExecutor(1) as pool:
        walk = Watch(tmp_path).during(lambda: first.elsewhere(pool))
    assert walk.row() == (2, 0, 0)


def test_nothing_is_written_down_after_stop(first, tmp_path):
    watch = Watch(tmp_path)
    assert watch.during(lambda: (watch.stop(), first.once())).row() == (0, 0, 0)


def test_edges_name_the_functions_of_a_pair_of_files_most_first():
    hops = Counter({Hop("a.py", "b/c.py", "f"): 9, Hop("b/d.py", "b/c.py", "g"): 1})
    hops[Hop("b/d.py", "b/c.py", "f")] = 2
    walk = Walk({"a.py", "b/c.py", "b/d.py"}, hops)
    assert walk.row() == (3, 3, 1)
    assert walk.edges() == [("b/d.py", "b/c.py", ["f", "g"], 3), ("a.py", "b/c.py", ["f"], 9)]


@pytest.mark.parametrize("file, expected", [("index/disk.py", "index"), ("types.py", "types.py")])
def test_a_room_is_the_first_folder_or_the_module(file, expected):
    assert room(file) == expected
