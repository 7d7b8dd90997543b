"""What may go wrong beside the steps of a stage, each in one clear line."""

import json
import math
import os
import signal
import time
from types import SimpleNamespace

import pytest
import torch
from transformers import TrainerState, TrainingArguments

from bvllm.data.faults import InvalidRow
from bvllm.training import stage
from bvllm.training.callbacks import LOSSES, LossLogger
from bvllm.training.checkpoints import atomic_folder
from bvllm.training.trainer import STATE, _IgnoreSignals, agreed


def caught(kind, last):
    """As torch words what a reader raised."""
    trace = "Original Traceback (most recent call last):\n  File x, line 1\n"
    return f"Caught {kind} in DataLoader worker process 0.\n{trace}{last}"


def checkpoint(folder, step, best):
    with atomic_folder(folder / f"checkpoint-{step}") as inside:
        state = TrainerState(global_step=step, best_global_step=best)
        (inside / STATE).write_text(json.dumps(vars(state), default=str))
    return folder / f"checkpoint-{step}"


def test_with_patience_a_stage_ends_with_its_best_checkpoint(tmp_path):
    best, last = checkpoint(tmp_path, 2, 2), checkpoint(tmp_path, 5, 2)
    assert stage._final(last, None) == last
    assert stage._final(last, 3) == best
    (best / STATE).write_text("{}")
    with pytest.raises(OSError, match=r"checkpoint-2 must be whole, got one that is not: .*trainer_state"):
        stage._final(last, 3)
    assert stage._final(checkpoint(tmp_path, 7, None), 3).name == "checkpoint-7"
    with pytest.raises(OSError, match="checkpoint-4 must be whole, got one that is not: it is gone"):
        stage._final(checkpoint(tmp_path, 8, 4), 3)


@pytest.mark.parametrize("raised, kind, says", [
    (InvalidRow("a.json:3", "json", "broken"), ValueError, "a.json:3: json: broken"),
    (
        RuntimeError(caught("InvalidRow", "bvllm.data.faults.InvalidRow: a.json:3: json: no")),
        ValueError,
        "a.json:3: json: no",
    ),
    (ValueError(caught("ValueError", "ValueError: a: b")), ValueError, "a: b"),
    (OSError(caught("OSError", "OSError: no disk")), OSError, "no disk"),
    (ValueError("as it is"), ValueError, "as it is"),
])  # fmt: skip
def test_what_a_reader_raised_is_said_in_a_line(raised, kind, says):
    with pytest.raises(kind) as error, stage._readers_watched():
        raise raised
    assert str(error.value) == says


def test_a_reader_that_died_is_told_from_one_that_failed():
    with pytest.raises(ChildProcessError, match="a process that reads rows died"), stage._readers_watched():
        raise RuntimeError("DataLoader worker (pid 12) is killed by signal: Killed.")
    bug = caught("RuntimeError", "RuntimeError: shapes differ")
    with pytest.raises(RuntimeError, match="Original Traceback"), stage._readers_watched():
        raise RuntimeError(bug)  # ours to mend: with its traceback


@pytest.mark.parametrize("said", [{"loss": math.nan}, {"loss": 1.0, "grad_norm": math.inf}])
def test_what_is_no_number_ends_the_run_before_it_is_saved(said, tmp_path):
    logger = LossLogger(tmp_path / LOSSES, None, "alignment", 1)
    with pytest.raises(FloatingPointError, match="start another run with a lower"):
        logger.on_log(None, TrainerState(global_step=3), None, said)


def test_another_save_every_holds_when_a_run_goes_on(tmp_path):
    state, arguments = (
        TrainerState(save_steps=50),
        TrainingArguments(str(tmp_path), save_steps=3, use_cpu=True),
    )
    LossLogger(tmp_path / LOSSES, None, "alignment", 1).on_train_begin(arguments, state, None)
    assert state.save_steps == 3


def test_one_process_takes_one_gpu(monkeypatch):
    """transformers would take all that it sees, and cut batches of clips where they are not to be cut."""
    made = SimpleNamespace(n_gpu=4)
    monkeypatch.setattr(stage, "TrainingArguments", lambda **_: made)
    monkeypatch.setattr(stage, "rows_per_process", lambda *_: 1)
    own = SimpleNamespace(
        lr=1, schedule="cosine", warmup=0, weight_decay=0, clip=1, patience=None, max_steps=3, batch=1
    )
    run = SimpleNamespace(
        cpu=False, shard="none", per_device=1, precision="bf16", seed=0, checkpointing=False, save_every=1,
        evaluate_every=1, report_to=(),
    )  # fmt: skip
    settings = SimpleNamespace(run=run, data=SimpleNamespace(workers=0))
    corpus = SimpleNamespace(evaluate=None, train=[0])
    stage._arguments(stage.Stage("alignment", settings, own, os.getcwd()), None, 1, corpus)
    assert made._n_gpu == 1


def test_without_other_processes_everyone_agrees():
    assert agreed(True, torch.device("cpu"))
    assert not agreed(False, torch.device("cpu"))


def test_a_reader_hears_the_second_request_to_stop_and_no_ctrl_c():
    child = os.fork()
    if child == 0:
        _IgnoreSignals(lambda worker: None)(0)
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGTERM
