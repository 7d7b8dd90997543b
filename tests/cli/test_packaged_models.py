"""Models inside the package: each is asked by its name everywhere, and together they are small."""

import json
from importlib.resources import files
from pathlib import Path

import pytest

from bvllm.cli import main
from bvllm.common.text import Question
from bvllm.index.folder import IndexFolder
from bvllm.inference import model_name
from bvllm.inference.dynamic import LoadedDynamic
from bvllm.inference.loading import load_model
from bvllm.methods.names import MethodNames
from bvllm.model.text_encoder import TextEncoder
from bvllm.server.engine import Engine
from bvllm.server.library import FoundVideo
from bvllm.server.questions import Asked
from bvllm.types import Budget
from bvllm.video import Limits
from tests.model.dynamic.tiny_dynamic import dynamic_model, dynamic_processor
from tests.test_messages import HOUSE

NAME = "dynamic-nano"
MEGABYTE = 1_000_000
MOST = {"nano": 12, "llava-nano": 6, NAME: 8}  # megabytes
MOST_TOGETHER = 26


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What `save_pretrained` leaves of a small Dynamic-VLM, with the text side of its tower."""
    home, model = tmp_path_factory.mktemp("assets") / NAME, dynamic_model()
    model.save_pretrained(home)
    dynamic_processor(model).save_pretrained(home)
    TextEncoder(["red", "star"], model.config.vision_config.hidden_size).save(home)
    return home


@pytest.fixture
def inside(folder, monkeypatch):
    """The folder, as if it were inside the package."""
    own = model_name._folder
    monkeypatch.setattr(model_name, "_folder", lambda name: folder if name == NAME else own(name))


@pytest.mark.parametrize("budget", ["7", "auto"])
def test_it_is_asked_by_its_name(budget, inside, video, tmp_path, capsys):
    words = [
        "ask",
        str(video),
        "which?",
        "--model",
        NAME,
        "--budget",
        budget,
        "--json",
        str(tmp_path / "told.json"),
    ]
    assert main([*words, "--option", "red", "--option", "blue"]) == 0
    told = json.loads((tmp_path / "told.json").read_text())
    assert told["tokens"] <= (7 if budget == "7" else 1024)
    assert bool(told["budget_steps"]) == (budget == "auto")


@pytest.mark.parametrize("words", ["plan {video}", "index {video}", "search {video} red"])
def test_other_commands_know_it_too(words, inside, video, capsys):
    assert main([*words.format(video=video).split(), "--model", NAME]) == 0
    assert capsys.readouterr().out


def test_models_are_listed_where_their_files_are_there(inside, monkeypatch, capsys):
    assert model_name.packaged() == list(model_name.PACKAGED)
    assert main(["models"]) == 0
    assert f"{NAME} (a Dynamic-VLM" in capsys.readouterr().out
    monkeypatch.setattr(model_name, "_folder", lambda name: Path("nowhere"))
    assert model_name.packaged() == []


def test_the_server_answers_with_it_one_question_after_another_and_several_together(inside, video, tmp_path):
    loaded = load_model(NAME)
    assert isinstance(loaded, LoadedDynamic)
    engine = Engine(loaded, IndexFolder(tmp_path), Limits(), name=NAME)
    asked = Asked(Question.parse("which?"), 1.0, 0.0, None, Budget(9, 32), MethodNames(), 2)
    for _ in range(2):
        answered = engine.ask((FoundVideo("", video, None, "video"),), asked)
        assert answered.answer.tokens <= 9
    assert engine.name == NAME


@pytest.mark.parametrize(
    "words",
    [
        "ask v.mp4 why?",
        "plan v.mp4",
        "index v.mp4",
        "search v.mp4 red",
        "serve",
        "eval --data .",
        "calibrate --data .",
    ],
)
def test_a_name_without_its_files_is_one_line(words, monkeypatch, capsys):
    monkeypatch.setattr(model_name, "_folder", lambda name: Path("nowhere"))
    assert main([*words.split(), "--model", NAME]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert (
        f"got '{NAME}' without its files: reinstall bvllm, or make it again with `bvllm train dynamic_nano`"
        in line
    )
    assert HOUSE.search(line)


def test_models_inside_are_small():
    """A clone and a wheel stay light; a folder that is not there weighs nothing."""
    home = Path(str(files("bvllm"))) / "assets"
    sizes = {
        folder.name: sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / MEGABYTE
        for folder in home.iterdir()
        if folder.is_dir()
    }
    assert set(sizes) <= set(model_name.PACKAGED)
    assert {name: size for name, size in sizes.items() if size > MOST[name]} == {}
    assert sum(sizes.values()) <= MOST_TOGETHER
