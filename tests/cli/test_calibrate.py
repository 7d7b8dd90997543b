"""`bvllm calibrate`, from a folder of questions to `bvllm ask --budget auto`."""

import json

import pytest

from bvllm.cli import main
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


def test_steps_are_found_kept_beside_the_weights_and_read_when_asking(data, dynamic, video, capsys):
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
    told = dynamic / "told.json"
    assert main([*words, "--budgets", "4,32", "--out", str(dynamic), "--json", str(told)]) == 0
    assert capsys.readouterr().out.count("all passes") == 2
    assert [one["steps"]["tokens"] for one in json.loads(told.read_text())] == [[4], [4]]
    assert main(ask) == 0
    said = capsys.readouterr()
    assert "calibrated for no model" not in said.err
    assert "budget by the question: 4 tokens (margin" in said.err
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
    assert "steps must save half of the tokens" in said.err
    assert HOUSE.search(said.err)
    assert not (tmp_path / "auto_budget.json").exists()


@pytest.mark.parametrize("budgets", ["64", "64,16", "a,b", "0,4", "4,,8"])
def test_budgets_that_cannot_be_meant_are_refused(budgets, data, capsys):
    assert main(["calibrate", "--data", str(data), "--budgets", budgets]) == 2
    assert "--budgets must be two or more rising numbers" in capsys.readouterr().err
