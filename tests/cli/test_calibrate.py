"""`bvllm calibrate`, from a folder of questions to `bvllm ask --budget auto`."""

import json
from dataclasses import replace

import pytest

from bvllm.cli import main
from bvllm.inference.auto_budget import AutoBudget, Measured
from tests.model.backbones.tiny_families import save
from tests.model.dynamic.tiny_dynamic import dynamic_model, dynamic_processor
from tests.test_messages import HOUSE


@pytest.fixture(scope="module")
def data(tmp_path_factory, video):
    home = tmp_path_factory.mktemp("data")
    (home / "v.mp4").write_bytes(video.read_bytes())
    row = {
        "question": "which colour ?", "video": "v.mp4", "seconds": 40, "split": "val", "task": "colour",
        "options": ["red", "blue"], "open_answer": "red", "needles": [], "messages": [],
    }  # fmt: skip
    rows = [json.dumps(row | {"id": str(k), "answer": "AB"[k]}) for k in range(2)]
    (home / "val.jsonl").write_text("\n".join(rows))
    return home / "val.jsonl"


@pytest.fixture(scope="module")
def dynamic(tmp_path_factory):
    home = tmp_path_factory.mktemp("dynamic")
    model = dynamic_model()
    model.save_pretrained(home)
    dynamic_processor(model).save_pretrained(home)
    return home


def test_steps_are_found_kept_beside_the_weights_and_read_when_asking(
    data, dynamic, video, capsys, monkeypatch, tmp_path
):
    """Worth it or not, as far as a model of random numbers goes: what counts is what is written and read."""
    ask = ["ask", str(video), "which?", "--option", "red", "--option", "blue", "--model", str(dynamic)]
    ask += ["--budget", "auto", "--no-index", "--max-new-tokens", "1"]
    assert main(ask) == 0
    assert "calibrated for no model" in capsys.readouterr().err
    words = [
        "calibrate",
        "--data",
        str(data),
        "--test",
        str(data),
        "--model",
        str(dynamic),
        "--points",
        "100",
    ]
    told, words = tmp_path / "told.json", [*words, "--frames", "9", "--budgets", "4,32"]
    monkeypatch.setattr("bvllm.evaluation.calibrate.find_steps", lambda trials, **_: AutoBudget((4, 32), 0.0))
    assert main([*words, "--out", str(dynamic), "--json", str(told)]) == 1
    said = capsys.readouterr()
    assert said.out.count("all passes") == 2
    assert "steps must be right more often than the best fixed budget of their cost" in said.err
    assert not (dynamic / "auto_budget.json").exists()
    assert [one["steps"]["tokens"] for one in json.loads(told.read_text())] == [[4, 32], [4, 32]]
    monkeypatch.setattr("bvllm.evaluation.calibration.Calibration.why_not", lambda self, **_: None)
    found = AutoBudget((4, 32), 0.0, measured=Measured(2, 0.5, 4.0, 0.5, 32.0))
    monkeypatch.setattr("bvllm.evaluation.calibrate.find_steps", lambda trials, **_: found)
    assert main([*words, "--out", str(dynamic)]) == 0
    assert AutoBudget.load(dynamic) == replace(found, frames=9)
    capsys.readouterr()
    assert main(ask) == 0
    said = capsys.readouterr()
    assert "calibrated" not in said.err
    assert "budget by the question: 4 tokens (margin" in said.err
    assert main([*ask, "--frames", "3", "--fps", "2"]) == 0
    said = capsys.readouterr().err
    assert "calibrated with frames 9, and asked with 3" in said
    assert "calibrated with fps 1.0, and asked with 2.0" in said
    elsewhere = tmp_path / "elsewhere.json"
    (dynamic / "auto_budget.json").rename(elsewhere)
    assert main([*ask, "--steps", str(elsewhere)]) == 0
    assert "budget by the question: 4 tokens (margin" in capsys.readouterr().err
    assert main([*ask[:-4], "16", "--steps", str(elsewhere)]) == 2
    assert "--steps must stand with --budget auto, got --budget 16" in capsys.readouterr().err
    (dynamic / "auto_budget.json").write_text("[]")
    assert main(ask) == 1
    assert "cannot be asked with --budget auto: auto_budget.json must hold" in capsys.readouterr().err


def test_a_wrapped_model_is_calibrated_too_and_what_saves_nothing_is_not_kept(data, tmp_path, capsys):
    folder = save("llava_onevision", tmp_path)
    words = [
        "calibrate",
        "--data",
        str(data),
        "--model",
        str(folder),
        "--pipeline",
        "uniform",
        "--out",
        str(tmp_path),
    ]
    assert main([*words, "--budgets", "20,24"]) == 1
    said = capsys.readouterr()
    assert "| 24 tokens |" in said.out
    assert "steps must " in said.err
    assert HOUSE.search(said.err)
    assert not (tmp_path / "auto_budget.json").exists()


@pytest.mark.parametrize("budgets", ["64", "64,16", "a,b", "0,4", "4,,8"])
def test_budgets_that_cannot_be_meant_are_refused(budgets, data, capsys):
    assert main(["calibrate", "--data", str(data), "--budgets", budgets]) == 2
    assert "--budgets must be two or more rising numbers" in capsys.readouterr().err
