"""I1: after a power cut at any moment, what was promised is there and right, and nothing wrong ever is."""

import random
from pathlib import Path

import pytest

from bvllm.index import IndexFolder, disk, partial
from tests.index.make import entry_of, is_right, key_of
from tests.index.power import Recorder, after_a_cut

CUTS = 250
ENTRIES = {seed: entry_of(seed, frames=8) for seed in range(1, 5)}


@pytest.fixture
def log(tmp_path, monkeypatch) -> list:
    """Two entries in one step, one replaced, one by a journal; every append is synced and promised."""
    monkeypatch.setattr(partial, "SYNC_SECONDS", -1.0)
    recorder = Recorder()
    recorder.attach(monkeypatch)
    folder = IndexFolder(tmp_path / "index")
    for seed in (1, 2, 1):
        folder.write(key_of(seed), ENTRIES[seed])
        recorder.acknowledge(("entry", seed))
    entry = ENTRIES[3]
    with folder.partial(key_of(3)) as journal:
        for start in (0, 2, 4, 6):
            journal.append(entry.features[start : start + 2], entry.seconds[start : start + 2])
            recorder.acknowledge(("frames", start + 2))
        journal.finish(entry.frame_map, entry.meta)
        recorder.acknowledge(("entry", 3))
    folder.write(key_of(4), ENTRIES[4])
    recorder.acknowledge(("entry", 4))
    monkeypatch.undo()
    for name in ("sync", "sync_folder"):  # the cuts are made up: no disk has to hurry for them
        monkeypatch.setattr(disk, name, lambda _: None)
    return recorder.log


def broken_promises(log: list, folder: Path, seed: int, forget: tuple[str, ...] = ()) -> list[str]:
    """What is wrong after one power cut."""
    rng = random.Random(seed)
    done = log[: rng.randrange(len(log) + 1)]
    folder.mkdir()
    for name, data in after_a_cut(done, rng, forget).items():
        (folder / name).write_bytes(data)
    promised = [args[0] for name, args in done if name == "promise"]
    frames = max([count for kind, count in promised if kind == "frames"], default=0)
    index = IndexFolder(folder, tell=lambda _: None)
    wrong = []
    for number, entry in ENTRIES.items():
        found = index.find(key_of(number))
        if found is None and ("entry", number) in promised:
            wrong.append(f"entry {number} is lost")
        if found is not None and not is_right(found, entry):
            wrong.append(f"entry {number} is wrong")
    if ("entry", 3) not in promised:
        with index.partial(key_of(3)) as journal:
            finished = index.find(key_of(3)) is not None
            if journal.count < frames and not finished:
                wrong.append(f"{journal.count} frames are left of {frames}")
            if journal.count:
                video = journal.finish({}, ENTRIES[3].meta)
                if not video.features.equal(ENTRIES[3].features[: len(video)]):
                    wrong.append("the journal gives wrong frames")
    return wrong


def test_every_promise_holds_after_every_cut(log, tmp_path):
    for seed in range(CUTS):
        assert not broken_promises(log, tmp_path / str(seed), seed), f"seed {seed}"


@pytest.mark.parametrize("forget", ["sync", "sync_folder"])
def test_leaving_out_a_sync_breaks_promises(log, tmp_path, forget):
    """The test above can fail: it does, where the code would not have synced."""
    failures = (broken_promises(log, tmp_path / str(seed), seed, (forget,)) for seed in range(CUTS))
    assert any(failures)
