"""What a control is told, and that it learns from that and answers."""

from collections import Counter
from itertools import islice

import numpy as np
import pytest
import torch
from transformers import Qwen2Model

from bvllm.model.clock import ClockEmbedding
from bvllm.model.presets import nano_text
from bvllm.nano.language import Where
from bvllm.synthetic.busy.things import COLUMNS, ROWS
from bvllm.synthetic.tokenizer import build_tokenizer
from experiments.controls.exam import examine, questions
from experiments.controls.frames import key_frames, scenes_of
from experiments.controls.learning import ToldModel, compose_pool, start_of, told_videos, train
from experiments.controls.promises import CONTROLS
from experiments.controls.telling import asked, tell


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer()


@pytest.fixture(scope="module")
def pool():
    return compose_pool(80, 3)


@pytest.fixture(scope="module")
def examples(pool):
    return list(islice(asked(pool, 1, (8, 90)), 40))


def told(control, example):
    return tell(control, example, np.random.default_rng(0))


def test_every_question_has_options_and_its_frames_show_what_is_asked(examples):
    for example in examples:
        assert "A. " in example.prompt
        assert example.reply.startswith(f"{example.question.options[example.question.right]} (")
        assert set(example.question.needles) <= set(scenes_of(example.question, example.timeline))
        assert set(example.key_frames()) <= set(key_frames(example.question, example.timeline))


def test_a_blind_control_is_told_nothing_but_the_question(pool, examples, tokenizer):
    assert not any(told("blind", example) for example in examples)
    blind, seeing = (next(told_videos(pool, tokenizer, control, 5)) for control in ("blind", "all"))
    assert blind.frames == blind.places == blind.seconds == []
    assert seeing.frames
    assert len(blind.ids) == len(seeing.ids)


def test_a_single_frame_is_one_second_of_a_scene_that_is_looked_for(examples):
    for example in examples:
        said = told("single-frame", example)
        [second] = {seconds for seconds, _ in said}
        assert second in key_frames(example.question, example.timeline)
        shown = example.timeline.at(second)
        assert len(said) == len(shown.scene.seen(second - shown.start))
        assert all(one.place is not None for _, one in said)


def test_a_bag_has_no_place_and_no_time_and_each_thing_once(examples):
    several = 0
    for example in examples:
        said = told("bag-of-things", example)
        assert all(seconds == 0 and one.place is None for seconds, one in said)
        assert not {*ROWS, *COLUMNS} & {word for _, one in said for word in one.words.split()}
        counts = Counter(one.words for _, one in said)
        wanted = Counter(
            thing.words
            for number in scenes_of(example.question, example.timeline)
            for thing in example.timeline.shown[number].scene.things
        )
        assert counts >= wanted, "frames of scenes that nobody asks about may add to it"
        several += sum(count > 1 for count in wanted.values())
    assert several, "two equal things are two"


def test_with_nothing_taken_away_every_frame_is_told_with_places(examples):
    for example in examples:
        said = told("all", example)
        assert set(key_frames(example.question, example.timeline)) <= {int(seconds) for seconds, _ in said}
        assert all(one.place is not None for _, one in said)


@pytest.fixture
def small(tokenizer):
    torch.manual_seed(0)
    config = nano_text(
        len(tokenizer), pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id
    )
    config.update({"num_hidden_layers": 1, "layer_types": ["full_attention"], "intermediate_size": 16})
    language_model = Qwen2Model._from_config(config, attn_implementation="eager")
    return ToldModel(language_model, ClockEmbedding(config.hidden_size), Where(config.hidden_size))


@pytest.mark.parametrize("control", CONTROLS)
def test_a_control_learns_and_answers_every_task(pool, small, tokenizer, control):
    table, where = (
        weight.detach().clone()
        for weight in (small.language_model.embed_tokens.weight, small.where.layers[0].weight)
    )
    assert train(small, tokenizer, pool, control, minutes=5, steps=3, seed=1, batch=6) == 3
    assert not torch.equal(table, small.language_model.embed_tokens.weight)
    # Places reach the controls that have them, and no other.
    untouched = torch.allclose(where, small.where.layers[0].weight, rtol=1e-4, atol=1e-6)
    assert untouched == (control in ("blind", "bag-of-things"))
    results = examine(small, tokenizer, control, questions(asked(pool, 4), 2), 4)
    assert [(r.right.count, r.guessing) for r in results] == [(2, 0.25)] * 12


def test_a_start_that_means_nothing_is_an_error(tokenizer):
    with pytest.raises(ValueError, match="no-such-model"):
        start_of("no-such-model", tokenizer)
