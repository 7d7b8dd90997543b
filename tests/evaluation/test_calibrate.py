"""Calibration of the automatic budget, on a model of which it is known what is enough for each question."""

import json
import random
from contextlib import closing
from dataclasses import dataclass

import pytest
import torch

from bvllm.evaluation.calibrate import find_steps, try_budgets
from bvllm.evaluation.calibration import weigh
from bvllm.evaluation.evaluate import says_right
from bvllm.evaluation.tasks.base import Item
from bvllm.inference.ask import encode_video
from bvllm.inference.auto_budget import AutoBudget, answer_auto
from bvllm.video import FrameList
from tests.evaluation.hand_made import HandMade, scene
from tests.test_messages import HOUSE

CLIP = FrameList(scene("rgbr" * 2, "0123" * 2), [float(k) for k in range(8)])  # 32 patches in all
BUDGETS = (2, 8, 32)
WORDS = ("yes", "no")


@dataclass
class Known:
    """From so many tokens on the answer is right, and how sure the model is at each of the budgets."""

    enough: int
    sure: tuple[float, float, float]


class Knows(HandMade):
    """A model that is right from a known number of tokens on."""

    def __init__(self, questions: list[Known]) -> None:
        super().__init__()
        object.__setattr__(self, "questions", questions)

    def option_scores(self, asked, visual, said, prompt=None):
        number, tokens = int(asked.question.stem), len(visual.tokens[0])
        known = self.questions[number]
        place = sum(tokens >= budget for budget in BUDGETS[1:])
        best = (1 + known.sure[place]) / 2
        right = number % 2 if tokens >= known.enough else 1 - number % 2
        return torch.tensor([best if k == right else 1 - best for k in range(2)]).log().tolist()


def items_of(questions: list[Known]) -> list[Item]:
    return [Item(str(k), CLIP, 8.0, str(k), WORDS, k % 2, "t", split="val") for k in range(len(questions))]


TELLING = (
    [Known(0, (0.8, 0.9, 0.9))] * 21 + [Known(8, (0.3, 0.9, 0.9))] * 6 + [Known(32, (0.2, 0.1, 0.5))] * 3
)


@pytest.fixture(scope="module")
def telling():
    model, items = Knows(TELLING), items_of(TELLING)
    trials = try_budgets(items, model, BUDGETS)
    return model, items, trials, find_steps(trials)


def test_the_margin_that_divides_right_from_wrong_is_found_and_what_it_saves_is_exact(telling):
    model, items, trials, steps = telling
    assert [trials.fixed(tokens).accuracy for tokens in BUDGETS] == [21 / 30, 27 / 30, 1.0]
    assert steps.tokens == BUDGETS
    assert steps.least_margin == pytest.approx(0.55)  # in the middle of 0.3, wrong, and 0.8, right
    spent = (21 * 2 + 6 * (2 + 8) + 3 * (2 + 8 + 32)) / 30
    assert steps.measured.tokens == pytest.approx(spent)
    assert (steps.measured.questions, steps.measured.accuracy, steps.measured.tokens_full) == (30, 1.0, 32.0)
    found = weigh(steps, trials, items, model)
    assert found.saved == pytest.approx(1 - spent / 32)
    assert found.rival.tokens == 7  # as good as the least, and costs what the steps cost
    assert (found.lost.mean, found.ahead.mean) == (0, pytest.approx(0.3))
    assert found.is_worth_it()
    assert "save 76 % of the tokens" in found.table()
    assert json.loads(json.dumps(found.as_json()))["saved"] == pytest.approx(found.saved)


def test_asking_spends_and_answers_what_calibration_counted(telling):
    model, items, trials, steps = telling
    counted = trials.auto(steps)
    with closing(encode_video(CLIP, model)) as encoded:
        for k in (0, 1, 21, 26, 27, 29):
            found = answer_auto(encoded, items[k].question, model, steps, options=WORDS)
            assert found.tokens_spent == counted.tokens[k]
            assert says_right(found.letter, found, items[k]) == counted.right[k]


def test_margins_that_are_noise_save_nothing():
    draw = random.Random(3)
    noise = [Known(draw.choice((0, 8, 32)), tuple(draw.random() for _ in BUDGETS)) for _ in range(30)]
    model, items = Knows(noise), items_of(noise)
    trials = try_budgets(items, model, BUDGETS)
    steps = find_steps(trials)
    assert steps.tokens == (32,)
    found = weigh(steps, trials, items, model)
    assert (found.saved, found.lost.mean) == (0, 0)
    assert not found.is_worth_it()
    forced = trials.auto(AutoBudget(BUDGETS, 0.5))
    assert forced.accuracy < 0.9  # what stopping by noise would cost


def test_where_a_fixed_budget_is_enough_it_is_what_is_found():
    draw = random.Random(4)
    plateau = [Known(8, tuple(draw.random() for _ in BUDGETS)) for _ in range(20)]
    model, items = Knows(plateau), items_of(plateau)
    trials = try_budgets(items, model, BUDGETS)
    steps = find_steps(trials)
    assert steps.tokens == (8,)
    found = weigh(steps, trials, items, model)
    assert found.ahead.mean == 0  # as good as a fixed budget, and no better
    assert "steps must be two or more, got one of 8 tokens" in found.why_not()
    two = weigh(AutoBudget((8, 32), 0.0), trials, items, model)  # stops at 8 always
    assert "must be right more often than the best fixed budget of their cost" in two.why_not()
    for one in (found, two):
        assert not one.is_worth_it()
        assert HOUSE.search(one.why_not())


def test_a_ladder_that_beats_fixed_budgets_is_found_beside_a_cheaper_fixed_one(telling):
    """With 35 points to lose two tokens are the cheapest; the ladder that beats them is what may be kept."""
    trials = telling[2]
    steps = find_steps(trials, most_lost=0.35)
    assert len(steps.tokens) > 1
    assert trials.auto(steps).accuracy > trials.fixed(2).accuracy


def test_a_loss_is_allowed_up_to_the_points_that_were_asked_for(telling):
    trials = telling[2]
    assert find_steps(trials, most_lost=0.16).tokens[-1] < 32  # the three hard questions are given up
    # Three of 30 are 10 points, with a standard error of 5.5: more than 11 may be lost on others.
    assert find_steps(trials, most_lost=0.11).measured.accuracy == 1.0
    assert find_steps(trials, most_lost=0.09).measured.accuracy >= 0.91


@pytest.mark.parametrize(
    "items, budgets, said",
    [([], BUDGETS, "data must hold questions with a right option"), (items_of(TELLING), (8, 2), "rising")],
)
def test_what_cannot_be_calibrated_is_refused(items, budgets, said):
    with pytest.raises(ValueError, match=said) as error:
        try_budgets(items, Knows(TELLING), budgets)
    assert HOUSE.search(str(error.value))
