"""The README is run: Python blocks are executed, shell lines are parsed by make, pip and the command line."""

import fcntl
import re
import runpy
import shlex
import shutil
import tomllib
from pathlib import Path

import pytest
import typer.main

from bvllm.cli import app, main
from bvllm.cli.json_output import with_value
from bvllm.synthetic import make_world

REPO = Path(__file__).parents[1]
README = (REPO / "README.md").read_text(encoding="utf-8")
# A block marked `text` is for reading; every other language must be known here.
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
BLOCKS = [(match[1], match[2]) for match in FENCE.finditer(README)]
PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "THIRD_PARTY.md",
    "CHANGELOG.md",
    "docs/architecture.md",
]


def shell_lines() -> list[str]:
    text = "\n".join(body for language, body in BLOCKS if language == "bash").replace("\\\n", " ")
    lines = (line.split(" #")[0].strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> Path:
    """A folder in which `make demo` made its video, and the world that the README speaks of is empty."""
    home = tmp_path_factory.getbasetemp().parent / "readme"  # shared by all processes that test
    home.mkdir(exist_ok=True)
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (home / "world").exists():
            _make_demo(home)
    return home


def _make_demo(home: Path) -> None:
    script = runpy.run_path(str(REPO / "examples/demo.py"))
    make_world(
        home / script["FOLDER"],
        split=script["SPLIT"],
        count=1,
        seconds=(script["SECONDS"], script["SECONDS"]),
        seed=script["SEED"],
        tasks=list(script["TASKS"]),
    )
    [video] = (home / script["FOLDER"] / "videos").iterdir()
    shutil.copy(video, home / script["FOLDER"] / "video.mp4")
    (home / "world").mkdir()


@pytest.fixture
def here(demo, monkeypatch) -> Path:
    monkeypatch.chdir(demo)
    monkeypatch.setenv("BVLLM_INDEX", str(demo / "index"))
    return demo


def test_every_block_has_a_known_language():
    assert {language for language, _ in BLOCKS} <= {"bash", "python", "text"}
    assert {"bash", "python"} <= {language for language, _ in BLOCKS}, (
        "the README must show both, or this file tests nothing"
    )


def test_the_python_blocks_run_in_order_and_say_what_is_written_behind_them(here, capsys):
    """One namespace for all of them, as a reader would paste them."""
    namespace: dict[str, object] = {"__name__": "readme"}
    for language, body in BLOCKS:
        if language == "python":
            exec(compile(body, "README.md", "exec"), namespace)
            said = capsys.readouterr().out
            for wanted in re.findall(r"print\(.*\)  # ([\w:]+)$", body, re.MULTILINE):
                assert wanted in said, f"{wanted} is not in what is printed: {said}"
    assert "frame " in said or "green" in said


ANSWERED = [
    match.groups()
    for line in "\n".join(body for language, body in BLOCKS if language == "bash").splitlines()
    if (match := re.fullmatch(r"(bvllm (?:ask|search) .*?)\s+# (.+)", line)) and "demo/video.mp4" in line
]


def test_the_first_page_shows_answers():
    assert len(ANSWERED) >= 6


@pytest.mark.slow
@pytest.mark.parametrize("line, wanted", ANSWERED)
def test_the_first_page_is_right(line, wanted, here, capsys):
    """Each line as it is written, on what `make demo` leaves."""
    assert main(shlex.split(line)[1:]) == 0
    assert wanted in capsys.readouterr().out


@pytest.mark.parametrize("line", [line for line in shell_lines() if line.startswith("bvllm ")])
def test_the_command_line_understands(line, here):
    """Parsed for real, with types and files checked; only the command's body is not run."""
    command, words = typer.main.get_command(app), with_value(shlex.split(line)[1:])
    while words and words[0] in getattr(command, "commands", {}):
        command = command.commands[words.pop(0)]
    assert not hasattr(command, "commands"), f"{line}: no such command among {sorted(command.commands)}"
    if "--help" in words:
        words.remove("--help")
        assert not words, f"{line}: --help stands alone"
    else:
        command.make_context("bvllm", words)


@pytest.mark.parametrize("line", [line for line in shell_lines() if not line.startswith("bvllm ")])
def test_make_and_pip_know_what_is_named(line):
    tool, *words = shlex.split(line)
    if tool == "make":
        makefile = (REPO / "Makefile").read_text(encoding="utf-8")
        targets = re.findall(r"^([a-z]+):", makefile, re.MULTILINE)
        options = re.findall(r"^([A-Z]+) \?=", makefile, re.MULTILINE)
        assert words
        for word in words:
            name, given, _ = word.partition("=")
            assert name in (options if given else targets), f"{line}: the Makefile has {targets}, {options}"
    elif tool == "pip":
        extras = {
            extra for word in words for found in re.findall(r"\[(.+)\]", word) for extra in found.split(",")
        }
        project = tomllib.loads((REPO / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        assert words[0] == "install"
        assert extras <= set(project["optional-dependencies"]), f"{line}: no such extra"
    else:
        pytest.fail(f"{line}: teach this test to check {tool}, or mark the block as text")


@pytest.mark.parametrize("page", PAGES)
def test_every_link_to_a_file_leads_somewhere(page):
    text = (REPO / page).read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#\s]+)", text)
    for link in links:
        if "://" not in link:
            assert ((REPO / page).parent / link).exists(), f"{page}: {link} leads nowhere"


def tree_entries() -> list[str]:
    """Paths that the annotated tree names, below the folder each stands in."""
    tree = next(body for language, body in BLOCKS if language == "text" and body.startswith("src/bvllm/"))
    found, top = [], ""
    for line in tree.splitlines():
        word = line.split()[0]
        top = top if line.startswith(" ") else word
        found.append(top + word if line.startswith(" ") else word)
    return found


@pytest.mark.parametrize("entry", tree_entries())
def test_the_tree_tells_what_is_there(entry):
    assert (REPO / entry).exists(), f"README tree: {entry} is not there"


def test_the_tree_leaves_no_room_out():
    rooms = {
        f"src/bvllm/{p.name}" + "/" * p.is_dir()
        for p in (REPO / "src/bvllm").iterdir()
        if not p.name.startswith("_")
    }
    assert rooms - {"src/bvllm/py.typed"} <= {e.replace("assets/nano/", "assets/") for e in tree_entries()}
