"""A table whose making is killed again and again comes to the figures of one that is left alone."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
# One seed of Table 3, two core-minutes at this scale.
MAKE = """
import sys
from pathlib import Path
from experiments.reproduction.make import make
from experiments.reproduction.tables import TABLE_3
from tests.experiments.reproduction.test_make import SMALL

make((TABLE_3,), Path(sys.argv[1]), seeds=1, workers=1, scale=SMALL, log=lambda line: print(line, flush=True))
"""


def start(out):
    return subprocess.Popen(
        [sys.executable, "-c", MAKE, str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
        cwd=ROOT,
    )


def killed(out, line):
    """Run until a line of the log, then kill the command and its workers, none of whom can clean up."""
    process = start(out)
    for said in process.stdout:
        if said.startswith(line):
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return
    pytest.fail(f"never said {line!r}")


def figures(out):
    """All of the record but times and dates."""
    told = json.loads((out / "table3.json").read_text())
    rows = [{k: v for k, v in row.items() if k != "minutes"} for row in told["rows"]]
    kept = {k: v for k, v in told.items() if k not in ("minutes", "conditions")}
    return kept | {"rows": rows}


@pytest.mark.evidence
def test_a_table_that_is_killed_in_every_stage_comes_to_the_same_figures(tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    left_alone = start(whole)
    left_alone.communicate()
    assert left_alone.returncode == 0
    for line in ("drawing 12 scenes of the plain world", "pair 1/2", "instruct 2/"):
        killed(broken, line)
        assert not (broken / "table3.json").exists()
    again = start(broken)
    said, _ = again.communicate()
    assert again.returncode == 0
    done_again = [line for line in said.splitlines() if line.startswith(("drawing", "pair", "select"))]
    assert not done_again
    assert figures(broken) == figures(whole)
