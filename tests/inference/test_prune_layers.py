"""Fewer tokens from layer to layer, as users ask for it: wrapped models, our own, budgets, the trace."""

import json
import re
from contextlib import closing
from pathlib import Path

import pytest
import torch

from bvllm.cli import main
from bvllm.common.text import Question
from bvllm.inference.ask import answer, encode_video
from bvllm.inference.results import cost_line
from bvllm.inference.session import Session
from bvllm.methods import METHODS
from bvllm.methods.names import MethodNames
from bvllm.types import Budget
from tests.model.backbones.pruning.prompts import LAYERS, row, wrapped

PAGE = Path(__file__).parents[2] / "docs" / "pruning-inside.md"
INNER = sorted(METHODS["prune_layers"])
KINDS = ("llava_onevision", "qwen2_5_vl")


@torch.inference_mode()
@pytest.mark.parametrize("name", INNER)
@pytest.mark.parametrize("kind", KINDS)
def test_the_budget_is_the_mean_over_the_layers(kind, name):
    """More tokens enter than the budget has, fewer leave; and every answer costs at most the budget."""
    model = wrapped(kind)
    for budget in (1, 3, 12, 1000):
        _, visual = row(kind, budget=budget, prune_layers=name)
        [plan], [entered] = visual.pruning, visual.lengths
        assert visual.spent[0] <= budget
        assert sum(plan.tokens_per_layer) <= budget * LAYERS
        assert plan.tokens_per_layer[0] == entered
    assert entered == 45 + model.family.tail, "where all fit, none goes"
    asked, visual = row(kind, budget=25, prune_layers=name)
    assert visual.lengths[0] > 25
    assert visual.pruning[0].tokens_per_layer[-1] < 25
    assert isinstance(model.generate(asked, visual, 1), str)


@torch.inference_mode()
@pytest.mark.parametrize("kind", KINDS)
def test_options_are_scored_behind_what_is_left(kind):
    """Scores behind one reading are those of reading the reply token by token, with the same tokens gone."""
    model = wrapped(kind)
    asked, visual = row(kind, question="which?\nA. red\nB. the blue star", budget=25, prune_layers="fastv")
    given, replies = model.prompt.inputs(asked, visual), [[5, 9, 7], [8, 6]]
    with model._inside(given, [visual]) as states:
        found = model._reply_scores(given, replies, states["past_key_values"])
    for reply, score in zip(replies, found.tolist()):
        forced = iter([*reply, 0])
        with model._inside(given, [visual]) as states:
            said = model.model.generate(
                **given,
                **states,
                max_new_tokens=len(reply),
                do_sample=False,
                output_logits=True,
                return_dict_in_generate=True,
                prefix_allowed_tokens_fn=lambda _row, _ids, left=forced: [next(left)],
            )
        chances = [logits[0].log_softmax(dim=-1)[token] for logits, token in zip(said.logits, reply)]
        assert score == pytest.approx(float(sum(chances)), abs=1e-4)
    whole = model.option_scores(asked, row(kind, budget=46)[1], "")
    assert model.option_scores(asked, visual, "") != pytest.approx(whole, abs=1e-4)


@torch.inference_mode()
@pytest.mark.parametrize("kind", KINDS)
def test_several_questions_at_once_are_answered_as_alone(kind):
    model = wrapped(kind)
    rows = [
        row(kind, budget=25, prune_layers="pyramiddrop"),
        row(kind, 2, "a red sign where does it move", budget=9, prune_layers="pyramiddrop"),
    ]
    assert model.generate_together(rows, 4) == [model.generate(*each, 4) for each in rows]
    for other, names in (("fastv", "fastv, pyramiddrop"), (None, "none, pyramiddrop")):
        mixed = [rows[0], row(kind, budget=25, prune_layers=other)]
        with pytest.raises(
            ValueError, match=f"prune_layers must be one method for questions .* got {names}: ask"
        ):
            model.generate_together(mixed, 4)


def test_gemma_is_refused_before_a_video_is_opened():
    with pytest.raises(ValueError, match="tokens to be dropped inside it, got 'gemma3_text'"):
        wrapped("gemma3").ask("no such file.mp4", "what is red", prune_layers="fastv")
    with pytest.raises(ValueError, match=r"prune_layers must be one of .* got 'fast': did you mean 'fastv'"):
        MethodNames(prune_layers="fast")


@pytest.mark.parametrize("name", ["fastv", "sparsevlm"])
def test_our_own_model_prunes_too(name, loaded, video):
    """B-VLLM's language model: the answer says what each layer saw, and its options are scored so."""
    settings = {"budget": Budget(tokens=6), "select_frames": "uniform", "max_new_tokens": 4}
    question, session = Question.parse("what is red", ["star", "sign"]), Session()
    with closing(encode_video(video, loaded)) as encoded:
        plain = answer(encoded, question, loaded, session=session, **settings)
        assert plain.tokens_per_layer == ()
        assert plain.used.methods["prune_layers"] == "none"
        settings["prune_layers"] = name
        found = answer(encoded, question, loaded, session=session, **settings)
        layers = found.tokens_per_layer
        assert found.tokens <= 6
        assert sum(layers) <= 6 * len(layers)
        assert layers[0] == found.visual.lengths[0] > 6 > layers[-1]
        each = ", ".join(f"1 x {count}" for count in layers)
        assert cost_line(found).endswith(f"6 tokens on average over the layers ({each})")
        assert found.used.methods["prune_layers"] == name
        assert sum(found.likelihoods) == pytest.approx(1)
        # Another question between them: what it drops is nobody else's, and nothing is remembered.
        answer(encoded, "where does the sign move", loaded, session=session, **settings)
        again = answer(encoded, question, loaded, session=session, **settings)
        assert again.likelihoods == found.likelihoods
        assert session.prompt.reused == 1, "the plain answer's own option scores"


def test_the_command_line_says_what_each_layer_saw(video, tmp_path):
    told = tmp_path / "told.json"
    words = ["ask", str(video), "which colour is the star", "--budget", "24", "--prune-layers", "fastv"]
    assert main([*words, "--no-index", "--json", str(told), "--max-new-tokens", "3"]) == 0
    found = json.loads(told.read_text())
    layers = found["tokens_per_layer"]
    assert found["tokens"] <= 24
    assert len(set(layers)) == 2
    assert sum(layers) <= 24 * len(layers)


@torch.inference_mode()
def test_the_pages_code_runs(video, capsys, monkeypatch):
    text = PAGE.read_text(encoding="utf-8").replace('"lecture.mp4", "what', f'"{video}", "what')
    blocks = dict(re.findall(r"```python title=(\w+)\n(.*?)```", text, flags=re.S))
    model = wrapped("llava_onevision")
    given = model.prompt.inputs(*row("llava_onevision"))
    names = {"video_llm": model, "model": model.model, "inputs": given, "input_ids": given["input_ids"]}
    monkeypatch.setitem(METHODS["prune_layers"], "largest", None)  # taken out again afterwards
    names["__name__"] = "page"
    for block in ("answer", "schedule", "block", "method"):
        exec(compile(blocks[block], str(PAGE), "exec"), names)
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("24 (")
    assert said[1].startswith("480 (480, 480")
    assert said[2].startswith("[(46, ")
    _, visual = row("llava_onevision", budget=30, prune_layers="largest")
    assert visual.pruning[0].tokens_per_layer == (40, 40, 40, 40, 20, 20, 20, 20)
    assert METHODS["prune_layers"]["fastv"]().entering(512, 32) == 963, "as the page says"
    assert all(f"| `{name}` |" in text for name in INNER)
