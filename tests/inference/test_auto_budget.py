"""The least budget that is enough: what is tried, when it stops, and how the margin is calibrated."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from bvllm.inference import auto_budget
from bvllm.inference.ask import ask
from bvllm.inference.auto_budget import AutoBudget, Measured, answer_auto, holds_all, margin_of
from bvllm.inference.results import notes_lines
from bvllm.model.card import WEIGHTS, keep_companions
from tests.test_messages import HOUSE


@pytest.fixture
def answers(monkeypatch, loaded):
    """What a model says at each budget, put in the place of `answer`; one real answer lends the rest."""

    def use(said, options=("red", "blue")):
        real = ask(
            torch.zeros(2, 3, 8, 8, dtype=torch.uint8), "which is it?", loaded, options=options or None
        )
        given = []

        def answer(encoded, question, model, *, budget):
            given.append(budget.tokens)
            likely, text = said[budget.tokens]
            used = replace(real.used, tokens=budget.tokens)
            return replace(
                real,
                likelihoods=likely,
                free_text=text,
                tokens=budget.tokens,
                frames_total=1000,
                used=used,
            )

        monkeypatch.setattr(auto_budget, "answer", answer)
        return given

    return use


LADDER = AutoBudget((16, 64, 256), least_margin=0.5)


def test_a_sure_answer_ends_it_and_an_unsure_one_goes_on(answers, loaded):
    given = answers({16: ((0.6, 0.4), "red"), 64: ((0.9, 0.1), "red"), 256: ((1.0, 0.0), "red")})
    found = answer_auto(None, "which is it?", loaded, LADDER, options=["red", "blue"])
    assert given == [16, 64]
    assert [step.margin for step in found.budget_steps] == [0.2, 0.8]
    assert found.tokens_spent == 80
    assert any("16 tokens (margin 0.20), 64 tokens (margin 0.80); 80 in all" in n for n in notes_lines(found))


def test_no_budget_adds_to_all_patches_of_the_frames_that_a_selector_chose(loaded):
    real = ask(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), "which is it?", loaded)
    whole = real.patches_per_frame * len(real.frames)
    found = replace(
        real, tokens=whole, frames_total=1000, used=replace(real.used, tokens=whole + 1, select="learned")
    )
    assert holds_all(found)
    assert not holds_all(replace(found, used=replace(found.used, tokens=whole)))
    assert not holds_all(replace(found, used=replace(found.used, select="uniform")))
    assert holds_all(replace(found, frames_total=len(real.frames), used=replace(found.used, tokens=whole)))


def test_never_sure_ends_at_the_largest(answers, loaded):
    given = answers(dict.fromkeys((16, 64, 256), ((0.5, 0.5), "red")))
    assert answer_auto(None, "which is it?", loaded, LADDER, options=["red", "blue"]).tokens_spent == 336
    assert given == [16, 64, 256]


def test_an_open_question_stops_where_two_budgets_say_the_same(answers, loaded):
    given = answers({16: ((), "red"), 64: ((), "blue"), 256: ((), "blue")}, options=())
    found = answer_auto(None, "which is it?", loaded, LADDER)
    assert given == [16, 64, 256]
    assert [step.margin for step in found.budget_steps] == [None, 0.0, 1.0]
    assert any("first try" in line and "same words" in line for line in notes_lines(found))


def test_equal_options_are_one_for_the_margin():
    assert margin_of((0.3, 0.3, 0.4), ("red", "red", "blue")) == pytest.approx(0.2)
    assert margin_of((), ()) is None


def test_a_ladder_comes_back_from_its_file(tmp_path):
    assert AutoBudget.load(tmp_path) == AutoBudget()
    LADDER.save(tmp_path)
    assert AutoBudget.load(tmp_path) == LADDER
    asked = replace(LADDER, frames=8, scorer="nano", pipeline="uniform", fps=2.0)
    asked.save(tmp_path)
    assert AutoBudget.load(tmp_path) == asked == AutoBudget.read(tmp_path / auto_budget.AUTO_BUDGET)
    known = replace(LADDER, measured=Measured(200, 0.9, 50.0, 0.905, 256.0))
    known.save(tmp_path)
    assert AutoBudget.load(tmp_path) == known
    assert known.measured.saved == pytest.approx(1 - 50 / 256)


def test_steps_stay_with_the_weights_that_they_were_found_for(tmp_path):
    for folder, weight in (("own", 1.0), ("copy", 1.0), ("trained", 2.0)):
        (tmp_path / folder).mkdir()
        save_file({"x": torch.full((2,), weight)}, tmp_path / folder / WEIGHTS)
    LADDER.save(tmp_path / "own")
    for folder in ("copy", "trained"):
        keep_companions(tmp_path / "own", tmp_path / folder)
    assert AutoBudget.load(tmp_path / "copy") == LADDER
    assert AutoBudget.load(tmp_path / "trained") == AutoBudget()


@pytest.mark.parametrize(
    "written",
    [
        "[]",
        "{",
        "{}",
        '{"tokens": [64, 16], "least_margin": 0.5}',
        '{"tokens": [1], "least_margin": 1, "measured": 3}',
    ],
)
def test_a_file_of_another_form_is_refused(written, tmp_path):
    (tmp_path / auto_budget.AUTO_BUDGET).write_text(written)
    with pytest.raises(ValueError, match="must hold rising tokens and a least_margin") as error:
        AutoBudget.load(tmp_path)
    assert HOUSE.search(str(error.value))


@pytest.mark.parametrize(
    "settings, said",
    [
        ({"tokens": ()}, "tokens must be one or more rising budgets"),
        ({"tokens": (64, 16)}, "tokens must be one or more rising budgets"),
        ({"least_margin": 1.5}, "least_margin must lie in"),
    ],
)
def test_ladders_that_cannot_be_meant_are_refused(settings, said):
    with pytest.raises(ValueError, match=said) as error:
        AutoBudget(**settings)
    assert HOUSE.search(str(error.value))
