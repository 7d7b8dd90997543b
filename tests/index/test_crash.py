"""I1 and I4: kill -9 at any moment, many writers and readers: never a wrong answer, never a dead lock."""

import os
import random
import time
from collections.abc import Callable
from itertools import cycle
from pathlib import Path

from bvllm.index import IndexFolder
from tests.index.make import entry_of, is_right, key_of, names
from tests.index.processes import Child

ENTRIES = {seed: entry_of(seed, frames=64) for seed in range(6)}
CHUNK = 8


def look_at(folder: IndexFolder, seed: int) -> None:
    """What `bvllm index` does with a video: use the entry, or make it, from where the last one stopped."""
    entry, key = ENTRIES[seed], key_of(seed)
    if folder.find(key) is not None:
        return
    with folder.partial(key) as journal:
        if folder.find(key) is not None:
            return
        for start in range(journal.count, 64, CHUNK):
            journal.append(entry.features[start : start + CHUNK], entry.seconds[start : start + CHUNK])
        journal.finish(entry.frame_map, entry.meta)


def writer(path: Path, seed: int, *, replace: bool) -> Callable[[Callable[[str], None]], None]:
    def work(say: Callable[[str], None]) -> None:
        folder, rng = IndexFolder(path), random.Random(seed)
        for number in cycle(rng.sample(range(6), 6)):
            if replace:
                folder.write(key_of(number), ENTRIES[number])
            else:
                look_at(folder, number)
            say(f"has {number}")

    return work


def reader(path: Path) -> Callable[[Callable[[str], None]], None]:
    def work(say: Callable[[str], None]) -> None:
        folder = IndexFolder(path, tell=lambda finding: say(f"found {finding}"))
        for number in cycle(range(6)):
            video = folder.find(key_of(number))
            if video is not None and not is_right(video, ENTRIES[number]):
                say(f"wrong {number}")

    return work


def acknowledged(lines: list[str]) -> set[int]:
    assert "failed" not in lines
    return {int(line.split()[1]) for line in lines}


def assert_right(path: Path, promised: set[int]) -> None:
    found = []
    folder = IndexFolder(path, tell=found.append)
    for number, entry in ENTRIES.items():
        video = folder.find(key_of(number))
        assert video is not None or number not in promised, f"{number} is lost"
        assert video is None or is_right(video, entry), f"{number} is wrong"
    assert not found


def test_kill_9_at_any_moment(tmp_path):
    """Each round goes on in the folder that the round before was killed in."""
    rng, path = random.Random(3), tmp_path / "index"
    for round in range(24):
        promised: set[int] = set()
        if round % 6 == 0:
            path = tmp_path / str(round)
        child = Child.start(writer(path, round, replace=round % 2 == 0))
        time.sleep(rng.random() * 0.12)
        promised |= acknowledged(child.kill())
        assert_right(path, promised)
    for number in ENTRIES:
        look_at(IndexFolder(path), number)
    assert_right(path, set(ENTRIES))
    IndexFolder(path).write(key_of(0), ENTRIES[0])
    assert len(names(path)) == 6, "nothing that was half-made stays when somebody has written"


def test_writers_and_readers_at_once_with_kills(tmp_path):
    readers = [Child.start(reader(tmp_path)) for _ in range(4)]
    promised: set[int] = set()
    writers = [Child.start(writer(tmp_path, seed, replace=seed % 2 == 0)) for seed in range(4)]
    for round in range(12):
        time.sleep(0.1)
        promised |= acknowledged(writers.pop(0).kill())
        writers.append(Child.start(writer(tmp_path, round, replace=round % 2 == 0)))
    for child in writers:
        promised |= acknowledged(child.kill())
    for child in readers:
        assert child.kill() == []
    assert promised
    assert_right(tmp_path, promised)


def test_two_that_index_the_same_video_at_once(tmp_path):
    """The second waits for the first, and uses what it made."""

    def work(say: Callable[[str], None]) -> None:
        folder = IndexFolder(tmp_path)
        with folder.partial(key_of(0)) as journal:
            made = folder.find(key_of(0)) is None
            if made:
                journal.append(ENTRIES[0].features, ENTRIES[0].seconds)
                time.sleep(0.3)
                journal.finish(ENTRIES[0].frame_map, ENTRIES[0].meta)
        say("made it" if made else "found it")

    children = [Child.start(work) for _ in range(3)]
    said = sorted(line for child in children for line in child.wait())
    assert said == ["found it", "found it", "made it"]
    assert_right(tmp_path, {0})


def test_a_killed_writer_leaves_no_lock(tmp_path):
    def work(say: Callable[[str], None]) -> None:
        with IndexFolder(tmp_path).partial(key_of(0)) as journal:
            journal.append(ENTRIES[0].features[:8], ENTRIES[0].seconds[:8])
            say("holds it")
            time.sleep(60)

    child = Child.start(work)
    assert os.read(child.said, 100) == b"holds it\n"
    child.kill()
    started = time.monotonic()
    look_at(IndexFolder(tmp_path), 0)
    assert time.monotonic() - started < 5
    assert_right(tmp_path, {0})
