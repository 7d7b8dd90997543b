"""Two processes on this machine (gloo) give the losses of one, with full copies and with shards."""

import multiprocessing
import os
import shutil
import socket

import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file
from torch.distributed.tensor import DTensor

from bvllm.training.callbacks import read_losses
from bvllm.training.dynamic_settings import DYNAMIC_RECIPES
from bvllm.training.run import train
from bvllm.training.settings import RECIPES, override
from bvllm.training.snapshot import WEIGHTS
from bvllm.training.trainer import StageTrainer
from tests.training.rows import open_drawn, write_rows

pytestmark = pytest.mark.slow
WORDS = (
    "model.choice=softmax alignment.max_steps=3 instruction.max_steps=3 alignment.batch=4 "
    "instruction.batch=4 run.cpu=true run.save_every=1"
).split()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def one_of(rank, world, port, out, words, recipe):
    """What one process does; its exit status is 0 where all went well."""
    torch.set_num_threads(1)
    AcceleratorState._reset_state(True)
    if world > 1:
        os.environ |= {
            "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world),
            "LOCAL_WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port,
        }  # fmt: skip
    sharded, take = world > 1 and "run.shard=none" not in words, StageTrainer._snapshot

    def checked(self):
        assert all(isinstance(weight, DTensor) == sharded for weight in self.model.parameters())
        return take(self)

    StageTrainer._snapshot = checked
    settings = override((RECIPES | DYNAMIC_RECIPES)[recipe](), words)
    reading = {"open_rows": open_drawn} if recipe == "tiny" else {}
    train(settings, out, resume=True, log=lambda line: None, **reading)


def record(out, rows_file, world, *words):
    """What was said of every step of both stages. Rows are taken one at a time, or two by one process alone:
    some batches have nothing to see."""
    rows = [f"data.pretrain={rows_file}", f"data.finetune={rows_file}"]
    run_processes(out, world, (*rows, *WORDS, f"run.per_device={2 // world}", *words))
    return [e for stage in ("alignment", "instruction") for e in read_losses(out / stage / "losses.jsonl")]


def run_processes(out, world, words, recipe="tiny"):
    """Train in so many processes; all must end well."""
    port = free_port()
    # Forked from a process that has run nothing else; this one has decoded for thousands of tests.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    children = [
        context.Process(target=one_of, args=(rank, world, port, out, words, recipe)) for rank in range(world)
    ]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0] * world


def losses(*run):
    """Every loss of both stages."""
    return [entry["loss"] for entry in record(*run)]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("alone") / "run"


@pytest.fixture(scope="module")
def alone(rows_file, home):
    return losses(home, rows_file, 1)


# Plain zero3 is in the run that goes on below; `make evidence` runs plain zero2 and zero3 whole.
@pytest.mark.parametrize("words", [
    ["run.shard=none"],
    ["run.shard=zero2", "run.checkpointing=true"],  # what paper_7b does
    pytest.param(["run.shard=zero2"], marks=pytest.mark.evidence),
    pytest.param(["run.shard=zero3"], marks=pytest.mark.evidence),
    pytest.param(["run.shard=zero3", "run.checkpointing=true"], marks=pytest.mark.evidence),
], ids=" ".join)  # fmt: skip
def test_two_processes_give_the_losses_and_the_weights_of_one(words, alone, home, rows_file, tmp_path):
    together = losses(tmp_path / "run", rows_file, 2, *words)
    assert len(together) == 6
    assert together == pytest.approx(alone, rel=1e-5)
    assert_weights_are_those_of(home, tmp_path / "run")


def assert_weights_are_those_of(home, out):
    for file in ("alignment/result", "instruction/result", "instruction/checkpoint-3"):
        ours, theirs = (load_file(run / file / WEIGHTS) for run in (out, home))
        assert ours.keys() == theirs.keys()
        for name, weight in theirs.items():
            torch.testing.assert_close(ours[name], weight, rtol=1e-3, atol=1e-5)
    assert (out / "model/model.safetensors").is_file()


@pytest.mark.parametrize("runs", [
    [(2, "zero3"), (1, "none")],
    pytest.param([(2, "zero3"), (1, "none"), (2, "zero2")], marks=pytest.mark.evidence),
], ids=len)  # fmt: skip
def test_a_run_goes_on_with_another_number_of_processes(runs, alone, home, rows_file, tmp_path):
    """The first is a whole run; those after it take up what the one before left."""
    out = tmp_path / "run"
    for world, shard in runs:
        found = losses(out, rows_file, world, f"run.shard={shard}")
        assert found == pytest.approx(alone, rel=1e-5)
        assert_weights_are_those_of(home, out)
        for folder in ("model", "instruction/result", "instruction/checkpoint-3"):
            shutil.rmtree(out / folder)


PATIENT = (
    "alignment.max_steps=2 instruction.max_steps=9 instruction.lr=0.05 instruction.patience=1 "
    "run.evaluate_every=1 data.random_budget=2"
).split()


@pytest.fixture(scope="module")
def patient(rows_file, tmp_path_factory):
    """One process that evaluates every step, on a budget of every step's own, until it gets worse."""
    out = tmp_path_factory.mktemp("patient") / "run"
    return record(out, rows_file, 1, f"data.evaluate={rows_file}", *PATIENT)


# Where every layer is gathered for every forward pass, a process that stops early leaves the other waiting.
@pytest.mark.parametrize(
    "shard", ["zero3", *(pytest.param(s, marks=pytest.mark.evidence) for s in ("none", "zero2"))]
)
def test_two_processes_evaluate_and_stop_as_one(shard, patient, rows_file, tmp_path):
    """Seven rows held out: the last round of batches is not full."""
    words = [f"data.evaluate={rows_file}", f"run.shard={shard}", *PATIENT]
    together = record(tmp_path / "run", rows_file, 2, *words)
    assert [e["step"] for e in together] == [e["step"] for e in patient]
    assert 2 <= together[-1]["step"] < 9  # it did stop early
    for name in ("loss", "eval_loss"):
        found, alone = ([e[name] for e in run if name in e] for run in (together, patient))
        assert found == pytest.approx(alone, rel=1e-5)


DYNAMIC_STAGES = ("projector", "captions", "images", "videos")


@pytest.mark.evidence
@pytest.mark.parametrize("shard", ["zero2", "zero3"])
def test_two_processes_train_a_dynamic_vlm_as_one_does(shard, tmp_path):
    """Grids of a step are drawn alike by both: a video and text alone, three steps of every stage."""
    file = write_rows(tmp_path)
    words = [f"data.{name}={file}" for name in ("pretrain", "image", "video")]
    words += [
        f"{stage}.{word}" for stage in DYNAMIC_STAGES for word in ("batch=4", "max_steps=3", "warmup=0")
    ]
    words += ["run.cpu=true", "run.save_every=1"]
    found = []
    for world in (1, 2):
        own = [f"run.per_device={2 // world}", f"run.shard={shard}"]
        run_processes(tmp_path / str(world), world, [*words, *own], "dynamic_tiny")
        read = [read_losses(tmp_path / str(world) / s / "losses.jsonl") for s in DYNAMIC_STAGES]
        found.append([e["loss"] for entries in read for e in entries])
    assert len(found[0]) == 12
    assert found[1] == pytest.approx(found[0], rel=1e-5)
    weights = [load_file(tmp_path / run / "videos/result" / WEIGHTS) for run in ("1", "2")]
    for name, weight in weights[0].items():
        # Adam turns the noise of a gradient of nearly 0 (all of a key's bias) into whole steps.
        assert (weights[1][name] - weight).norm() <= 1e-3 * weight.norm() + 1e-5, name
