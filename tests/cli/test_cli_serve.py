"""`bvllm serve` before it serves: its flags, and what it refuses."""

import importlib
import inspect
import re
import socket
from dataclasses import fields
from pathlib import Path

import pytest

from bvllm.cli import main
from bvllm.server.settings import Ceilings

command = importlib.import_module("bvllm.cli.serve")  # `bvllm.cli.serve` is the function
PAGE = (Path(__file__).parents[2] / "docs" / "serving.md").read_text(encoding="utf-8")


def test_every_ceiling_is_a_flag_and_the_page_says_its_default():
    flags = [name for name in inspect.signature(command.serve).parameters if name.startswith("max_")]
    assert flags == [f"max_{ceiling.name}" for ceiling in fields(Ceilings)]
    said = {}
    for row in re.findall(r"^\| (`--max-.*?) \| (.*?) \|", PAGE, re.MULTILINE):
        names, values = re.findall(r"`--max-([\w-]+)`", row[0]), row[1].replace(" 000", "000").split(", ")
        said |= dict(zip(names, values, strict=True))
    defaults = {c.name.replace("_", "-"): getattr(Ceilings(), c.name) for c in fields(Ceilings)}
    assert {name: float(value.replace(" ", "")) for name, value in said.items()} == defaults


def test_the_page_names_every_flag():
    for name in inspect.signature(command.serve).parameters:
        assert f"`--{name.replace('_', '-')}`" in PAGE


@pytest.mark.parametrize(
    "words, says, code",
    [
        (["--host", "0.0.0.0"], "--api-key-file", 2),
        (["--max-frames", "0"], "--max-frames must be positive", 2),
        (["--api-key-file", "none.txt"], "readable file", 2),
        (["--allow-path", "nowhere"], "--allow-path must be a folder", 2),
        (["--model", "namo"], "namo", 2),
    ],
)
def test_what_cannot_be_served_is_said_in_one_line(words, says, code, capsys):
    assert main(["serve", *words]) == code
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1


def test_a_port_that_is_taken_is_said_before_the_model_is_loaded(capsys, monkeypatch):
    monkeypatch.setattr("bvllm.inference.loading.load_model", None)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main(["serve", "--port", str(taken.getsockname()[1])]) == 1
    assert "in use" in capsys.readouterr().err


def test_a_missing_package_is_named_with_what_installs_it(capsys, monkeypatch):
    monkeypatch.setattr(command, "find_spec", lambda name: None if name == "fastapi" else object())
    assert main(["serve"]) == 1
    error = capsys.readouterr().err
    assert "fastapi" in error
    assert "pip install 'bvllm[serve]'" in error
