"""Every example runs as a newcomer runs it, in a process of its own."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
HELPERS = {"video", "demo"}  # imported by the others; run by `make demo`
SCRIPTS = sorted(path.stem for path in EXAMPLES.glob("*.py") if path.stem not in HELPERS)


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """What became of every script."""
    command = [sys.executable, str(Path(__file__).with_name("run_examples.py"))]
    command += [str(EXAMPLES / f"{name}.py") for name in SCRIPTS]
    home = tmp_path_factory.mktemp("examples")
    done = subprocess.run(command, cwd=home, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize("name", SCRIPTS)
def test_an_example_runs(name, ran):
    became = ran[str(EXAMPLES / f"{name}.py")]
    assert "failed" not in became, became["failed"]
    assert became["found"].strip()


def test_the_list_names_every_example():
    listed = re.findall(r"^\| `(\w+)\.py`", (EXAMPLES / "README.md").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted({*SCRIPTS, "demo"})
