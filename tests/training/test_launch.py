"""The files that start a run on one card, eight, sixteen, or two machines."""

from pathlib import Path

import pytest
from accelerate.commands.config import load_config_from_file

from bvllm.training.checks import rows_per_process
from bvllm.training.settings import RECIPES

CONFIGS = Path(__file__).parents[2] / "configs"
PROCESSES = {"1gpu": (1, 1), "8gpus": (8, 1), "16gpus": (16, 1), "2nodes": (16, 2)}


@pytest.mark.parametrize("name", PROCESSES)
def test_accelerate_reads_it_and_the_papers_batches_divide(name):
    read = load_config_from_file(str(CONFIGS / f"{name}.yaml"))
    assert (read.num_processes, read.num_machines) == PROCESSES[name]
    paper = RECIPES["paper_7b"]()
    for stage in ("alignment", "instruction"):
        own = getattr(paper, stage)
        times = rows_per_process(stage, own, paper.run, read.num_processes)
        assert times * paper.run.per_device * read.num_processes == own.batch


def test_there_is_no_other():
    assert {path.stem for path in CONFIGS.glob("*.yaml")} == set(PROCESSES)
