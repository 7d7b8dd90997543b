"""A folder counts when every file in it is what was written; it may be written in the background."""

import json
import os
import signal

import pytest

from bvllm.training.checkpoints import atomic_folder, clean, damage, newest, remove

FILES = {"weights.safetensors": b"w" * 900, "state.json": b'{"a": 1}'}


def write(place, step):
    with atomic_folder(place / f"checkpoint-{step}") as inside:
        for name, content in FILES.items():
            (inside / name).write_bytes(content)
    return place / f"checkpoint-{step}"


def missing(file):
    file.unlink()


def truncated(file):
    file.write_bytes(file.read_bytes()[:-1])


def zeroed(file):
    file.write_bytes(bytes(file.stat().st_size))


def flipped(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("name", [*FILES, "COMPLETE.json"])
@pytest.mark.parametrize("harm", [missing, truncated, zeroed, flipped])
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(name, harm, tmp_path):
    before, last = write(tmp_path, 9), write(tmp_path, 10)
    assert newest(tmp_path, pytest.fail) == last
    harm(last / name)
    said = []
    assert newest(tmp_path, said.append) == before
    assert len(said) == 1
    assert "checkpoint-10 is damaged" in said[0]
    if not (name == "COMPLETE.json" and harm is flipped):
        assert name in said[0]


def killed_before_call(place, number):
    """Write checkpoint 2 in a child that is killed -9 right before its so many-th call that counts."""
    child = os.fork()
    if child == 0:
        made = [0]

        def guard(call):
            def counted(*args, **kwargs):
                made[0] += 1
                if made[0] == number:
                    os.kill(os.getpid(), signal.SIGKILL)
                return call(*args, **kwargs)

            return counted

        for name in ("mkdir", "open", "fsync", "rename"):
            setattr(os, name, guard(getattr(os, name)))
        try:
            write(place, 2)
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def test_a_kill_at_any_moment_of_writing_leaves_the_one_before(tmp_path):
    before, number, found = write(tmp_path, 1), 1, []
    while killed_before_call(tmp_path, number):
        found.append(newest(tmp_path, pytest.fail))
        clean(tmp_path)
        assert not list(tmp_path.glob(".*"))
        if found[-1] != before:
            remove(found[-1])
        number += 1
    after = tmp_path / "checkpoint-2"
    assert newest(tmp_path, pytest.fail) == after
    assert len(found) > 2 * len(FILES) + 4
    assert set(found) == {before, after}, "killed after the rename, the new one is there"
    assert found == sorted(found)


def test_an_error_while_writing_leaves_nothing_behind(tmp_path):
    before = write(tmp_path, 1)

    def fail():
        with atomic_folder(tmp_path / "checkpoint-2") as inside:
            (inside / "weights").write_text("half")
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        fail()
    assert os.listdir(tmp_path) == [before.name]


def test_folders_that_are_no_checkpoints_do_not_count(tmp_path):
    for name in ("checkpoint-x", ".writing-checkpoint-7", ".removing-checkpoint-8", "checkpoint-9"):
        (tmp_path / name).mkdir()
    assert newest(tmp_path, lambda line: None) is None


def test_the_mark_lists_every_file(tmp_path):
    folder = write(tmp_path, 3)
    listed = json.loads((folder / "COMPLETE.json").read_text())["files"]
    assert {name: told["bytes"] for name, told in listed.items()} == {n: len(c) for n, c in FILES.items()}
    remove(folder)
    assert not list(tmp_path.iterdir())
    assert damage(folder) == "COMPLETE.json is missing"
