"""`--json` is one option for every command: a file, or standard output."""

import json

import pytest
import typer.main

from bvllm.cli import COMMANDS, app, main
from bvllm.cli.json_output import with_value

WRITE = ("ask", "search", "index", "plan", "doctor", "eval")


@pytest.mark.parametrize("name", WRITE)
def test_every_command_with_results_has_it(name):
    command = typer.main.get_command(app).commands[name]
    [option] = [p for p in command.params if "--json" in p.opts]
    assert option.metavar == "[FILE.json]"


@pytest.mark.parametrize(
    "words, wanted",
    [
        (["--json"], ["--json", "-"]),
        (["--json", "-"], ["--json", "-"]),
        (["--json", "--fps", "2"], ["--json", "-", "--fps", "2"]),
        (["--json", "video.mp4"], ["--json", "-", "video.mp4"]),
        (["--json", "a.json"], ["--json", "a.json"]),
        (["--json=a.mp4"], ["--json=a.mp4"]),
    ],
)
def test_a_bare_flag_prints_and_never_takes_a_video_for_its_file(words, wanted):
    assert with_value(words) == wanted


def test_a_file_gets_the_object_and_the_text_is_printed(tmp_path, capsys):
    (tmp_path / "a.mp4").write_bytes(b"no video")
    assert main(["doctor", str(tmp_path), "--json", str(tmp_path / "found.json")]) == 1
    printed = capsys.readouterr().out
    assert "a.mp4" in printed
    assert json.loads((tmp_path / "found.json").read_text())["not_answerable"] == 1
    assert main(["doctor", str(tmp_path), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["not_answerable"] == 1


@pytest.mark.parametrize(
    "said, why", [("a.mp4", "ends in .json"), ("nowhere/a.json", "folder that is there")]
)
def test_another_file_is_refused_before_the_work(said, why, tmp_path, capsys):
    assert main(["doctor", str(tmp_path / "a.mp4"), f"--json={said}"]) == 2
    assert why in capsys.readouterr().err


@pytest.mark.parametrize(
    "path", [(name,) for name in COMMANDS] + [("world", "make"), ("train", "nano"), ("train", "tiny")]
)
def test_every_help_ends_in_an_example_and_has_no_boxes_when_piped(path, capsys):
    assert main([*path, "--help"]) == 0
    said = capsys.readouterr().out
    assert f"Example: bvllm {' '.join(path)}" in " ".join(said.split())
    assert not set(said) & set("╭│╰─")
