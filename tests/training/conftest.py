"""A tiny run that was never stopped, once for all tests."""

from dataclasses import replace

import pytest

from bvllm.training.run import train
from bvllm.training.settings import RECIPES, override
from tests.training.rows import open_drawn

SHORT = (
    "alignment.max_steps=3 instruction.max_steps=4 alignment.batch=4 instruction.batch=4 run.per_device=2 "
    "run.save_every=1 run.keep=2"
).split()


@pytest.fixture(scope="session")
def rows_file(tmp_path_factory):
    """A file that is there; `open_drawn` does not read it."""
    file = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    file.write_text("")
    return file


@pytest.fixture(scope="session")
def short(rows_file):
    """The tiny recipe in seven steps."""
    files = [f"data.pretrain={rows_file}", f"data.finetune={rows_file}"]
    return override(RECIPES["tiny"](), [*files, "model.place_channels=4", *SHORT])


@pytest.fixture(scope="session")
def whole(short, tmp_path_factory):
    """The folder of the short run, and what it said."""
    out, said = tmp_path_factory.mktemp("whole") / "run", []
    train(short, out, log=said.append, open_rows=open_drawn)
    return out, said


@pytest.fixture
def changed(short):
    """The short run with other settings of the instruction stage."""
    return lambda **told: replace(short, instruction=replace(short.instruction, **told))
