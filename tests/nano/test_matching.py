"""Tokens that learn to tell what a frame holds: who tells of what, and that they come apart."""

from itertools import islice

import numpy as np
import pytest
import torch

from bvllm.nano.busy_examples import BusyExample
from bvllm.nano.language import Where
from bvllm.nano.loop import Control
from bvllm.nano.matching import match_loss, match_tokens, pair, told_of
from bvllm.nano.steps import clips
from bvllm.nano.tellings import Tellings


def test_each_token_tells_of_one_thing_and_the_asked_come_first():
    cost = np.array([[0.1, 5.0, 0.2], [0.3, 6.0, 0.1]], np.float32)
    tokens, things = pair(cost, first=0)
    assert dict(zip(tokens.tolist(), things.tolist(), strict=True)) == {0: 0, 1: 2}
    tokens, things = pair(cost, first=2)  # the second thing is asked about, however unlike it is
    assert dict(zip(things.tolist(), tokens.tolist(), strict=True)) == {0: 0, 1: 1}
    tokens, things = pair(cost.T, first=1)
    assert len(set(tokens.tolist())) == len(set(things.tolist())) == 2


def test_what_the_question_is_about_is_told_first(busy_model, busy_bank, world_tokenizer):
    some = [c for c in islice(clips(busy_bank, "train", (8, 40), 8, 5, 1.0), 30) if c.example.question.about]
    assert len(some) > 5
    for clip in some:
        assert isinstance(clip.example, BusyExample)
        time = clip.example.key_frames()[-1]
        told, first = told_of(clip, time)
        age = time - clip.example.timeline.at(time).start
        there = clip.example.timeline.at(time).scene.seen(age)
        about = [t for t in clip.example.question.about if any(t is other for other in there)]
        assert len(told) == len(there) >= first
        said = [one.words for one in told[:first]]
        assert all(any(words.startswith(f"{thing.words} ") for words in said) for thing in about)


def test_tokens_learn_what_frames_hold_and_come_apart(busy_model, busy_bank, world_tokenizer):
    """On a few frames over and over: what is told is learned, and not as one vector for all tokens."""
    batch = list(islice(clips(busy_bank, "train", (8, 40), 8, 5, 1.0), 12))
    tellings = Tellings(busy_model.get_input_embeddings().weight, world_tokenizer, Where(48))
    busy_model.requires_grad_(False)
    learned = [busy_model.model.token_sampler, busy_model.model.multi_modal_projector]
    parameters = [p for part in learned for p in part.requires_grad_(True).parameters()]
    optimizer = torch.optim.Adam(parameters, lr=5e-3)
    found = []
    for _ in range(90):
        loss, asked, cosine = match_loss(
            busy_model, world_tokenizer, busy_bank, batch, tellings, np.random.default_rng(0)
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append((loss.item(), asked, cosine))
    assert found[-1][0] < 0.5 * found[0][0]
    assert found[-1][1] < 0.5 * found[0][1]
    assert found[-1][2] < 0.7


@pytest.mark.slow
def test_the_stage_changes_the_sampler_alone(busy_model, busy_bank, world_tokenizer):
    before = {name: p.clone() for name, p in busy_model.named_parameters()}
    said = []
    match_tokens(
        busy_model,
        world_tokenizer,
        busy_bank,
        Where(48),
        steps=2,
        minutes=5,
        seed=1,
        control=Control(log=said.append),
    )
    changed = {name for name, p in busy_model.named_parameters() if not torch.equal(p, before[name])}
    assert changed
    assert all("token_sampler" in name or "multi_modal_projector" in name for name in changed)
