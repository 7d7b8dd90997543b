"""The folder of vector libraries: kept, found again, never believed when damaged, never in two hands."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import bvllm
from bvllm.index import disk
from bvllm.index.search import LibraryShelf, SearchWarning, shelf_beside
from bvllm.index.search import library_file as files
from bvllm.index.search.library import DamagedLibrary
from bvllm.index.search.library_file import header_of, read_header, read_library, write_library
from bvllm.index.search.shelf import KEPT, LOCK
from tests.index.search.fakes import FakeLibrary, entries, missing

LENGTHS = (60, 30, 200)


@pytest.fixture
def fake() -> FakeLibrary:
    return FakeLibrary()


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def shelf(fake, said, tmp_path):
    """A process's view of the shelf: what a call made, the next call reads from the disk."""
    return lambda: LibraryShelf(tmp_path / "shelf", above=10, load=lambda: fake, tell=said.append)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != LOCK)


def test_a_library_is_built_once_and_found_again(shelf, fake, said, tmp_path):
    videos = entries(LENGTHS)
    made = shelf().library_for(videos)
    found = shelf().library_for(videos[::-1])
    assert found.header == made.header
    np.testing.assert_array_equal(found.built.codes, made.built.codes)
    assert (fake.builds, made.header.rows) == (1, 290)
    assert said == ["building a vector library over 290 frames, once"]
    [name] = names(tmp_path / "shelf")
    assert len(name) == 64 + len(".vectors")


def test_one_shelf_reads_the_file_once(shelf, fake, monkeypatch):
    ours = shelf()
    made = ours.library_for(entries(LENGTHS))
    assert ours.library_for(entries(LENGTHS)) is made


def test_up_to_the_limit_no_library_is_asked_for(tmp_path):
    assert LibraryShelf(tmp_path, above=290, load=missing).library_for(entries(LENGTHS)) is None
    with pytest.raises(ValueError, match="above must be at least 0, got -1"):
        LibraryShelf(tmp_path, above=-1)


def test_it_is_made_anew_when_a_tenth_has_changed(shelf, fake):
    videos = entries(LENGTHS)
    shelf().library_for(videos)
    for now, builds in (
        ([*videos, *entries([32], 7)], 1),  # 32 of 322 frames are new
        ([*videos, *entries([33], 8)], 2),  # 33 of 323
        (videos[1:], 3),  # 60 of 230 are gone
        (videos, 3),
        ([*entries([60], 9), *videos[1:]], 4),  # another in place of one: both count
    ):
        assert shelf().library_for(now) is not None
        assert fake.builds == builds


def test_few_are_kept_those_used_last_and_strangers_left_alone(shelf, tmp_path):
    folder = tmp_path / "shelf"
    shelf().library_for(entries(LENGTHS))
    [first] = names(folder)
    (folder / "letter.txt").write_text("dear")
    (folder / ("a" * 64 + ".vectors.tmp")).write_text("left by a killed writer")
    for seed in range(1, KEPT + 1):
        os.utime(folder / first, ns=(0, 0))
        shelf().library_for(entries(LENGTHS, seed))
    left = names(folder)
    assert len(left) == KEPT + 1
    assert "letter.txt" in left
    assert first not in left


def damage(path: Path, how: str) -> None:
    data = bytearray(path.read_bytes())
    if how == "header":
        data[80] ^= 1
    elif how == "payload":
        data[-5] ^= 1
    elif how == "short":
        del data[-5:]
    elif how == "long":
        data += b"more"
    elif how == "foreign":
        data[:] = b"some other program's file, a long one" * 9
    elif how == "header length":
        data[16:24] = b"\xff" * 8
    else:
        data.clear()
    path.write_bytes(data)


@pytest.mark.parametrize("how", ["header", "payload", "short", "long", "foreign", "header length", "empty"])
def test_a_damaged_file_is_told_of_and_made_again(shelf, fake, said, tmp_path, how):
    videos = entries(LENGTHS)
    made = shelf().library_for(videos)
    [name] = names(tmp_path / "shelf")
    damage(tmp_path / "shelf" / name, how)
    said.clear()
    found = shelf().library_for(videos)
    np.testing.assert_array_equal(found.built.codes, made.built.codes)
    assert fake.builds == 2
    assert len(said) == 2
    assert said[0].startswith(f"vector library {name[:12]} is of no use: it")
    shelf().library_for(videos)
    assert fake.builds == 2


def test_another_librarys_file_is_not_read(shelf, fake, said):
    shelf().library_for(entries(LENGTHS))
    fake.name = "fake, second edition"
    assert shelf().library_for(entries(LENGTHS)) is not None
    assert fake.builds == 2
    assert "was written by 'fake'" in said[1]


def test_an_entry_of_the_same_name_and_another_length_is_not_covered(shelf, fake):
    shelf().library_for(entries(LENGTHS))
    shelf().library_for(entries((60, 30, 199)))
    assert fake.builds == 2


@pytest.mark.parametrize(
    "header",
    [
        b'{"library": "fake"}',
        b'{"library":"fake","channels":0,"frames":{"a":1},"payload_bytes":1,"payload_sha256":""}',
        b'{"library":"fake","channels":1,"frames":{"a":0},"payload_bytes":1,"payload_sha256":""}',
    ],
)
def test_a_header_that_makes_no_sense_is_damage(tmp_path, monkeypatch, header):
    payload = np.zeros(4, np.uint8)
    monkeypatch.setattr(files.json, "dumps", lambda _: header.decode())
    write_library(tmp_path / "x", header_of("fake", 1, {"a": 4}, payload), payload)
    with pytest.raises(DamagedLibrary, match="header"):
        read_header(tmp_path / "x")


def test_a_file_appears_whole_or_not_at_all(tmp_path, monkeypatch):
    payload = np.arange(9, dtype=np.uint8)
    header, path = header_of("fake", 1, {"a": 9}, payload), tmp_path / "x"
    write_library(path, header, payload)
    read = read_library(path)
    assert read[0] == header
    np.testing.assert_array_equal(read[1], payload)
    steps = []
    for step in ("write", "sync", "rename", "sync_folder"):
        real = getattr(disk, step)
        monkeypatch.setattr(disk, step, lambda *a, s=step, r=real: steps.append(s) or r(*a))
    write_library(path, header, payload)
    assert steps == ["write", "write", "sync", "rename", "sync_folder"]

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(disk, "sync", full)
    with pytest.raises(OSError, match="No space"):
        write_library(path, header, payload[::-1].copy())
    assert names(tmp_path) == ["x"]
    np.testing.assert_array_equal(read_library(path)[1], payload)


def test_a_full_disk_costs_the_file_and_not_the_search(shelf, said, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(disk, "sync", full)
    assert shelf().library_for(entries(LENGTHS)).header.rows == 290
    assert said[-1] == "the vector library cannot be kept: No space left on device"
    assert names(tmp_path / "shelf") == []


def test_a_folder_that_cannot_be_made_means_exact_search_before_anything_is_built(fake, said, tmp_path):
    (tmp_path / "file").write_text("in the way")
    shelf = LibraryShelf(tmp_path / "file" / "shelf", above=10, load=lambda: fake, tell=said.append)
    assert shelf.library_for(entries(LENGTHS)) is None
    assert fake.builds == 0
    assert len(said) == 1
    assert "each frame is looked at" in said[0]


def test_what_the_library_cannot_build_is_searched_exactly(shelf, fake, said, monkeypatch):
    def fails(*_):
        raise RuntimeError("Error in\n  train")

    monkeypatch.setattr(fake, "build", fails)
    assert shelf().library_for(entries(LENGTHS)) is None
    assert said[-1] == "the vector library cannot be built (Error in train): each frame is looked at"


def test_a_file_that_cannot_be_read_is_told_of(shelf, said, tmp_path):
    (tmp_path / "shelf").mkdir()
    (tmp_path / "shelf" / ("b" * 64 + ".vectors")).mkdir()
    assert shelf().library_for(entries(LENGTHS)) is not None
    assert said[0].startswith("vector library bbbbbbbbbbbb cannot be read")


def test_while_another_builds_the_search_is_exact(shelf, fake, said, tmp_path):
    folder = tmp_path / "shelf"
    folder.mkdir()
    descriptor = disk.lock(folder / LOCK)
    assert shelf().library_for(entries(LENGTHS)) is None
    assert "another process builds" in said[0]
    os.close(descriptor)
    assert shelf().library_for(entries(LENGTHS)) is not None
    assert fake.builds == 1


BUILDER = """
import sys
from bvllm.index.search import LibraryShelf
from tests.index.search.fakes import FakeLibrary, entries
sys.stdin.readline()
shelf = LibraryShelf(sys.argv[1], above=10, load=FakeLibrary, tell=lambda _: None)
found = shelf.library_for(entries((60, 30, 200)))
print(-1 if found is None else found.built.codes.astype(int).sum())
"""


def test_two_processes_that_build_at_once_are_both_right(shelf, fake, said, tmp_path):
    root = Path(__file__).parents[3]
    paths = os.pathsep.join((str(root), str(Path(bvllm.__file__).parents[1])))
    running = [
        subprocess.Popen(
            [sys.executable, "-c", BUILDER, str(tmp_path / "shelf")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": paths},
        )
        for _ in range(2)
    ]
    for process in running:
        process.stdin.write("go\n")
        process.stdin.flush()
    sums = {int(process.communicate(timeout=120)[0]) for process in running}
    found = shelf().library_for(entries(LENGTHS))
    assert fake.builds == 0
    assert said == []
    assert sums <= {-1, int(found.built.codes.astype(int).sum())}
    assert sums != {-1}
    assert len(names(tmp_path / "shelf")) == 1


def test_where_the_shelf_lies_and_a_warning_if_nobody_is_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert shelf_beside(Path("index")) == tmp_path.resolve() / "index.search"
    assert shelf_beside(Path(".")) == tmp_path.parent.resolve() / (tmp_path.name + ".search")
    with pytest.warns(SearchWarning, match="each of 290 frames"):
        LibraryShelf(tmp_path, above=10, load=missing).library_for(entries(LENGTHS))
