"""`bvllm models NAME` counts a model: parameters by part, and what reading a prompt takes."""

import json

import pytest

from bvllm.cli import main
from bvllm.inference.planned_model import planned_model


def counted(words, capsys):
    assert main(["models", *words, "--json", "-"]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_papers_model_has_the_size_that_its_table_8_gives(capsys):
    found = counted(["paper_7b", "--prompt", "128"], capsys)
    language = found["parts"]["language_model"] + found["parts"]["lm_head"]
    assert language / 1e9 == pytest.approx(7.6, abs=0.05)
    assert (found["parameters"] - language) / 1e9 == pytest.approx(1.2, abs=0.2)
    assert found["flops_head_at_every_token"] / 1e12 == pytest.approx(1.81, abs=0.005)
    assert main(["models", "paper_7b", "--prompt", "128"]) == 0
    said = capsys.readouterr().out
    assert "1.813 trillion" in said
    assert "Table 8" in said


def test_parts_add_up_and_a_shared_head_counts_once(capsys):
    found = counted(["nano"], capsys)
    assert sum(found["parts"].values()) == found["parameters"]
    assert "lm_head" not in found["parts"]
    assert found["prompt"] == 512 + 64
    assert found["flops"] < found["flops_head_at_every_token"]


def test_flops_grow_with_the_prompt_and_attention_with_its_square():
    model = planned_model("nano")
    one, two, four = (model.read_flops(n) for n in (100, 200, 400))
    assert four - 2 * two == 4 * (two - 2 * one) > 0
    assert model.prefill_flops(36) == model.read_flops(100)


@pytest.mark.parametrize(
    "words, status, said",
    [
        (["papr_7b"], 2, "model must be nano"),
        (["--prompt", "9"], 2, "--prompt must be given with the name of a model"),
        (["nano", "--prompt", "0"], 2, "--prompt"),
    ],
)
def test_what_is_wrong_is_one_line(words, status, said, capsys):
    assert main(["models", *words]) == status
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
