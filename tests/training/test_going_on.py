"""A run that was stopped, by whatever, ends as the one that was not: the same losses, the same weights."""

import json
import multiprocessing
import os
import resource
import shutil
import signal
from dataclasses import replace

import pytest

from bvllm.common.stopping import Interrupted
from bvllm.training import checkpoints
from bvllm.training.run import claim, train
from bvllm.training.settings import override
from tests.test_messages import HOUSE
from tests.training.rows import open_drawn

STAGES = ("alignment", "instruction")


def files(out):
    """Everything that must be the same bytes."""
    return {
        str(path.relative_to(out)): path.read_bytes()
        for stage in STAGES
        for path in (out / stage / "losses.jsonl", out / stage / "result/weights.safetensors")
    } | {"model": (out / "model/model.safetensors").read_bytes()}


def go(settings, out, *, log=lambda line: None):
    talking = replace(settings, run=replace(settings.run, print_every=1))
    return train(talking, out, resume=True, log=log, open_rows=open_drawn)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_the_run_goes_on_from_there(number, whole, short, tmp_path):
    sent = []

    def ask(line):
        if line.startswith(("alignment 2/3", "instruction 1/4")) and line not in sent:
            sent.append(line)
            os.kill(os.getpid(), number)  # comes in the middle of the next step

    for _ in range(2):
        with pytest.raises(Interrupted, match="--resume") as stopped:
            go(short, tmp_path / "run", log=ask)
        assert stopped.value.signal == number
    assert "saved at step 1" in str(stopped.value)
    go(short, tmp_path / "run")
    assert len(sent) == 2
    assert files(tmp_path / "run") == files(whole[0])


def test_a_second_signal_stops_at_once(short, tmp_path):
    def ask_twice(line):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        go(short, tmp_path / "run", log=ask_twice)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def killed_at(settings, out, sync):
    """Run in a child that is killed -9 at its so many-th write to the disk; False where it ended before."""
    child = os.fork()
    if child == 0:
        count, real = [0], checkpoints._sync

        def die(path):
            count[0] += 1
            if count[0] == sync:
                os.kill(os.getpid(), signal.SIGKILL)
            real(path)

        checkpoints._sync = die
        try:
            go(settings, out)
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def test_kill_9_inside_saves_changes_nothing(whole, short, tmp_path):
    kills = [killed_at(short, tmp_path / "run", sync) for sync in (9, 16, 24)]
    assert kills == [True] * 3
    go(short, tmp_path / "run")
    assert files(tmp_path / "run") == files(whole[0])


def test_a_finished_run_stays_as_it_is(whole, short):
    def stamp(out):
        return {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in sorted(out.rglob("*")) if p.is_file()}

    out, _ = whole
    before = stamp(out)
    for _ in range(3):
        go(short, out)
    assert stamp(out) == before


def test_after_the_last_step_no_other_is_made(whole, short, tmp_path):
    """Killed between the last checkpoint and the result."""
    shutil.copytree(whole[0], tmp_path / "run")
    shutil.rmtree(tmp_path / "run/model")
    shutil.rmtree(tmp_path / "run/instruction/result")
    said = []
    go(short, tmp_path / "run", log=said.append)
    assert not any("loss" in line for line in said)
    assert files(tmp_path / "run") == files(whole[0])


def test_a_full_disk_costs_a_checkpoint_and_not_the_run(whole, short, tmp_path):
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    said, seen = [], []

    def fill_and_empty(line):
        said.append(line)
        if line.startswith("instruction 1/4"):  # the checkpoint of this step fails
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limit[1]))
        elif line.startswith("instruction 2/4"):
            seen.extend(p.name for p in (tmp_path / "run/instruction").iterdir())
            resource.setrlimit(resource.RLIMIT_FSIZE, limit)

    try:
        go(short, tmp_path / "run", log=fill_and_empty)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert [line for line in said if "could not be written, training goes on" in line]
    assert not any("checkpoint" in name for name in seen)
    assert files(tmp_path / "run") == files(whole[0])


def test_damage_costs_one_checkpoint(whole, short, tmp_path):
    shutil.copytree(whole[0], tmp_path / "run")
    shutil.rmtree(tmp_path / "run/model")
    shutil.rmtree(tmp_path / "run/instruction/result")
    weights = tmp_path / "run/instruction/checkpoint-4/weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    said = []
    go(short, tmp_path / "run", log=said.append)
    assert "checkpoint-4 is damaged and will not be used: weights.safetensors has" in said[0]
    assert files(tmp_path / "run") == files(whole[0])


@pytest.mark.parametrize("change", ["instruction.lr=2e-3", "run.seed=5", "model.gamma=0.5"])
def test_a_run_goes_on_with_its_own_settings_only(change, whole, short):
    with pytest.raises(ValueError, match=HOUSE.pattern) as error:
        go(override(short, [change]), whole[0])
    assert change.split("=")[0] in str(error.value)


def test_a_folder_with_a_run_in_it_is_not_taken_by_accident(whole, short):
    with pytest.raises(ValueError, match="add --resume"):
        train(short, whole[0], open_rows=open_drawn)


def test_a_reading_process_that_dies_is_one_line_and_the_run_goes_on(whole, short, tmp_path):
    reading = replace(short, data=replace(short.data, workers=1))
    killed = []

    def kill(line):
        if line.startswith("alignment 2/3") and not killed:
            killed.append([child.pid for child in multiprocessing.active_children()])
            os.kill(killed[0][0], signal.SIGKILL)

    with pytest.raises(
        ChildProcessError, match=r"a process that reads rows died .*: go on with --resume"
    ) as died:
        go(reading, tmp_path / "run", log=kill)
    assert str(died.value).count("\n") == 0
    go(short, tmp_path / "run")
    assert files(tmp_path / "run") == files(whole[0])


def test_an_error_of_the_training_itself_passes_unchanged(short, tmp_path):
    def fail(line):
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        go(short, tmp_path / "run", log=fail)


def test_a_run_of_an_older_version_goes_on_where_new_settings_are_as_usual(short, tmp_path):
    usual = override(short, ["model.place_channels=0"])
    claim(tmp_path / "run", usual, resume=False)
    file = tmp_path / "run/settings.json"
    told = json.loads(file.read_text())
    del told["model.place_channels"]
    file.write_text(json.dumps(told))
    claim(tmp_path / "run", usual, resume=True)
    with pytest.raises(ValueError, match=r"model.place_channels must be what the run in .* 0, got 4"):
        claim(tmp_path / "run", short, resume=True)
