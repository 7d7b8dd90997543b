"""`python -m experiments.reproduction` as a person runs it; test_make.py trains."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest

from bvllm.cli import main
from experiments.reproduction.__main__ import NAME, app
from experiments.reproduction.tables import TABLES


@pytest.mark.parametrize(
    "words, status, said",
    [
        (["tabel3", "--out", "x"], 2, "did you mean 'table3'?"),
        (["table3"], 2, "--out"),
        (["table3", "--out", "x", "--seeds", "0"], 2, "--seeds"),
        (["table3", "--out", "x", "--questions", "0"], 2, "--questions"),
        (["table3", "--out", "other"], 1, "choose a new folder"),
    ],
)
def test_what_is_wrong_is_one_line(words, status, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "scale.json").write_text("{}")
    found = main(words, app, NAME)
    out, err = capsys.readouterr()
    assert (found, out) == (status, "")
    assert said in err
    assert err.count("\n") == 1
    assert not (tmp_path / "x").exists()


def test_the_help_names_every_table(capsys):
    assert main(["--help"], app, NAME) == 0
    said = re.sub(r"\s+", "", capsys.readouterr().out)
    assert all(name in said for name in TABLES)


def test_ctrl_c_leaves_one_line_and_nothing_half_written(tmp_path):
    command = [sys.executable, "-m", "experiments.reproduction", "table3", "--out", str(tmp_path / "out")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    assert "drawing" in process.stderr.readline()
    time.sleep(2)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert not list((tmp_path / "out").glob("*.safetensors"))
