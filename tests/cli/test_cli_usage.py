"""Wrong use: exit status 2, one clear line on stderr, nothing on stdout, and no long work before it."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer

import bvllm
from bvllm.cli import console, main
from bvllm.cli.world import duration_range
from bvllm.video.videos_in import videos_of


@pytest.fixture
def model_folder(tmp_path, monkeypatch):
    """The current folder holds `empty/`, which is no model, and `video.mp4`, which is never opened."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "video.mp4").write_bytes(b"x")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text("{}")


@pytest.mark.parametrize(
    "line, said",
    [
        ("ask", "Missing argument 'VIDEO'"),
        ("ask video.mp4", "Missing argument 'QUESTION'"),
        ("ask video.mp4 '  '", "question must hold words"),
        ("ask video.mp4 why? --budget 0", "--budget"),
        ("ask video.mp4 why? --budget -3", "--budget"),
        ("ask video.mp4 why? --frames 0", "--frames"),
        ("ask video.mp4 why? --frames many", "--frames"),
        ("ask video.mp4 why? --fps 0", "--fps must be above 0, got 0"),
        ("ask video.mp4 why? --fps -1", "--fps must be above 0, got -1"),
        ("ask video.mp4 why? --fps nan", "--fps must be above 0, got nan"),
        ("ask video.mp4 why? --fps inf", "--fps must be above 0, got inf"),
        ("ask video.mp4 why? --threads 0", "--threads"),
        ("ask video.mp4 why? --max-new-tokens 0", "--max-new-tokens"),
        ("ask video.mp4 why? --select random", "'random' is not one of 'learned', 'uniform'"),
        ("ask video.mp4 why? --model broken --option one", "options must be 2 to 8 texts"),
        ("ask video.mp4 why? --model broken --option red --option ''", "options must be 2 to 8 texts"),
        ("ask video.mp4 why? --model nanno", "did you mean 'nano'?"),
        (
            "ask video.mp4 why? --model ./nowhere",
            "model must be nano, llava-nano, dynamic-nano, a folder that is there",
        ),
        ("ask video.mp4 why? --model empty", "model must be a folder with a config.json in it"),
        ("ask video.mp4 why? --model broken --evidence proof.pdf", "evidence must end in .html or .png"),
        ("ask video.mp4 why? --model broken --evidence proof", "evidence must end in .html or .png"),
        ("ask video.mp4 why? --model broken --evidence no/proof.html", "make 'no' first"),
        ("ask video.mp4 why? --evidens a.html", "--evidens"),
        ("aks video.mp4 why?", "Did you mean 'ask'?"),
        ("world", "Missing command"),
        ("world make --split test --count 1 --seconds 8", "--out"),
        ("world make --out w --split tset --count 1 --seconds 8", "'tset' is not one of"),
        ("world make --out w --split test --count 0 --seconds 8", "--count"),
        (
            "world make --out w --split test --count 1 --seconds 9..8",
            "--seconds must be a number above 0 or a range",
        ),
        (
            "world make --out w --split test --count 1 --seconds soon",
            "--seconds must be a number above 0 or a range",
        ),
        ("world make --out w --split test --count 1 --seconds 8 --haystack nowhere", "nowhere"),
        ("world make --out w --split test --count 1 --seconds 8 --tasks ','", "--tasks must name a task"),
        ("train", "Missing command"),
        ("train nano --minutes 0", "--minutes"),
        ("eval", "--data"),
        ("eval --data nowhere", "nowhere"),
        ("eval --data empty --budget 0", "--budget"),
        ("eval --data empty --model empty", "model must be a folder with a config.json in it"),
        ("eval --data empty --model broken --json no/scores.json", "make 'no' first"),
        ("--frobnicate", "--frobnicate"),
    ],
)
def test_wrong_use_is_told_in_one_line(line, said, model_folder, capsys):
    assert main(shlex.split(line)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert err.endswith("\n")
    assert said in err


@pytest.mark.parametrize("text, span", [("60", (60, 60)), ("8..3600", (8, 3600)), ("0.5..1", (0.5, 1))])
def test_durations(text, span):
    assert duration_range(text) == span


def test_help_and_version_go_to_stdout(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr() == (f"bvllm {bvllm.__version__}\n", "")
    for words in (
        [],
        ["--help"],
        ["ask", "-h"],
        ["world", "make", "--help"],
        ["train", "nano", "-h"],
        ["eval", "-h"],
    ):
        assert main(words) == 0
        out, err = capsys.readouterr()
        assert "Usage: bvllm" in out
        assert err == ""


def test_the_command_line_starts_without_anything_heavy():
    heavy = "{'torch', 'transformers', 'av', 'numpy', 'PIL', 'pydantic'}"
    code = f"import sys, bvllm.cli; bvllm.cli.main(['--help']); sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL).returncode == 0


def test_wrong_use_is_found_before_torch_is_imported(tmp_path):
    code = (
        "import sys, bvllm.cli; code = bvllm.cli.main(['ask', 'v', 'why?', '--model', 'nanno']);"
        "sys.exit(10 * code + ('torch' in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], stderr=subprocess.DEVNULL).returncode == 20


def run_into(stdout, *words) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "bvllm", *words]
    return subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no such device here")
def test_a_full_disk_behind_stdout_is_one_line():
    with open("/dev/full", "w") as full:
        found = run_into(full, "--help")
    assert found.returncode == 1
    assert found.stderr == "error: output cannot be written: No space left on device\n"


def test_a_reader_that_went_away_hears_nothing_more():
    reads, writes = os.pipe()
    os.close(reads)
    with open(writes, "w") as pipe:
        found = run_into(pipe, "--help")
    assert found.returncode == 1
    assert found.stderr in ("", "error: output cannot be written: Broken pipe\n")


@pytest.mark.parametrize("line", [["bench", "speed", "--goal", "G1"], ["reproduce", "table3", "--out", "x"]])
def test_commands_that_moved_say_where_to(line, capsys):
    assert main(line) == 2
    err = capsys.readouterr().err
    assert f"make {line[0]}" in err
    assert err.count("\n") == 1


def test_folders_that_cannot_be_read_are_named(tmp_path, monkeypatch):
    (tmp_path / "a.mp4").write_bytes(b"")
    (tmp_path / "closed").mkdir()
    real, told = os.scandir, []

    def scandir(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert videos_of([tmp_path], told.append) == [tmp_path / "a.mp4"]
    assert told == [f"folder {tmp_path / 'closed'} is left out: Permission denied"]


def test_control_characters_of_others_are_printed_as_escapes(tmp_path, capsys):
    (tmp_path / "test.jsonl").write_text('{"id": "\\u001b[2J\\u202e"}')
    assert main(["eval", "--data", str(tmp_path / "test.jsonl")]) == 2
    said = "".join(capsys.readouterr())
    assert "\x1b" not in said
    assert "\u202e" not in said
    assert console.printable("a\x1b[31mb\u202ec\n\td") == "a\\x1b[31mb\\u202ec\n\td"


def test_only_one_place_prints():
    sources = Path(console.__file__).parent.glob("*.py")
    assert [p.name for p in sources if re.search(r"(?<![\w.])print\(", p.read_text())] == ["console.py"]


SIGNALS = [(signal.SIGTERM, 143, "terminated"), (signal.SIGINT, 130, "interrupted")]
WAIT = """
import sys, time, typer
from bvllm.cli import main
commands = typer.Typer()
@commands.command()
def work() -> None:
    print("at work", file=sys.stderr, flush=True)
    time.sleep(60)
sys.exit(main([], commands, "work"))
"""
MAKE = ["-m", "bvllm", "world", "make", "--out", "w", "--count", "50", "--seconds", "60", "--seed", "1"]


@pytest.mark.parametrize("number, status, word", SIGNALS)
def test_a_signal_in_the_middle_is_one_line(number, status, word):
    process = subprocess.Popen([sys.executable, "-c", WAIT], stderr=subprocess.PIPE, text=True)
    assert process.stderr.readline() == "at work\n"
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (status, f"error: {word}\n")


@pytest.mark.slow
@pytest.mark.parametrize(
    "number, status, word", [SIGNALS[0], pytest.param(*SIGNALS[1], marks=pytest.mark.evidence)]
)
def test_a_signal_while_processes_draw_is_one_line(number, status, word, tmp_path):
    """Ctrl-C while processes work is tested in tests/experiments/reproduction/test_command.py, too."""
    words = [sys.executable, *MAKE, "--split", "test"]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, start_new_session=True, cwd=tmp_path)
    time.sleep(6)
    os.kill(process.pid, number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == status
    assert err.splitlines()[-1] == f"error: {word}"
    assert "Traceback" not in err


def test_a_command_that_says_how_far_it_came_keeps_the_status_of_sigterm(capsys):
    commands = typer.Typer()

    @commands.command()
    def work() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
        except KeyboardInterrupt:
            raise console.Stopped("2 of 9 are done: the same command goes on", signal.SIGINT) from None

    assert main([], commands, "work") == 143
    assert capsys.readouterr().err == "error: 2 of 9 are done: the same command goes on\n"


def test_a_torchvision_that_does_not_fit_torch_is_one_line(monkeypatch, capsys):
    """As transformers raises it, whichever of its classes is asked for."""

    def broken(*_: object, **__: object) -> None:
        cause = RuntimeError("operator torchvision::nms does not exist")
        raise ModuleNotFoundError("Could not import module 'InstructBlipQFormerModel'.") from cause

    monkeypatch.setattr(
        "bvllm.cli._plain_if_piped", lambda _: type("Commands", (), {"main": staticmethod(broken)})
    )
    assert main(["models"]) == 1
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    assert said[0].startswith("error: torchvision must be built for the torch that is installed")
