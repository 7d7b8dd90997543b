"""Two processes on this machine (gloo) give the losses of one, with full copies and with shards."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bvllm.app.training.watch import read_record

REPO = Path(__file__).parents[3]
WORDS = (
    "model.choice=softmax alignment.max_steps=3 instruction.max_steps=3 alignment.batch=4 "
    "instruction.batch=4 run.cpu=true run.save_every=2"
).split()


def losses(out, rows_file, processes, *words):
    """Every loss of both stages; rows taken one at a time make batches that see nothing."""
    rows = [f"data.pretrain={rows_file}", f"data.finetune={rows_file}"]
    launch = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        str(processes),
    ]
    subprocess.run(
        [*launch, str(REPO / "tests/app/training/ranks.py"), str(out), *rows, *WORDS, *words],
        check=True,
        cwd=REPO,
        env={**os.environ, "PYTHONPATH": str(REPO), "OMP_NUM_THREADS": "1"},
        timeout=900,
    )
    records = [read_record(out / stage / "losses.jsonl") for stage in ("alignment", "instruction")]
    return [entry["loss"] for record in records for entry in record]


@pytest.fixture(scope="module")
def alone(rows_file, tmp_path_factory):
    return losses(
        tmp_path_factory.mktemp("alone") / "run", rows_file, 1, "run.per_device=2", "run.shard=none"
    )


@pytest.mark.slow
@pytest.mark.parametrize("shard", ["none", "zero2", "zero3"])
def test_two_processes_give_the_losses_of_one(shard, alone, rows_file, tmp_path):
    together = losses(tmp_path / "run", rows_file, 2, "run.per_device=1", f"run.shard={shard}")
    assert len(together) == 6
    assert together == pytest.approx(alone, rel=1e-5)
    assert (tmp_path / "run/model/model.safetensors").is_file()
