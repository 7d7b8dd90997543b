"""Tokens that learn to tell what a frame holds: who tells of what, and that they come apart."""

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch

from bvllm.model import BVLLMConfig, BVLLMForConditionalGeneration
from bvllm.model.connectors import LlamaVidConfig
from bvllm.nano.busy_examples import BusyExample
from bvllm.nano.language import Where
from bvllm.nano.loop import Control
from bvllm.nano.matching import match_loss, match_tokens, told_of
from bvllm.nano.steps import clips
from bvllm.nano.tellings import Tellings


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


@pytest.mark.parametrize(
    "changes", [{}, {"connector": LlamaVidConfig(queries=4, show_cls=False)}], ids=["patches", "llama-vid"]
)
def test_tokens_of_a_model_without_a_sampler_learn_what_frames_hold(
    busy_model, busy_bank, world_tokenizer, changes
):
    """Patches and a connector's tokens, too; with the features of other frames they tell of other things."""
    settings = busy_model.config.to_dict() | {"sample_tokens": "none"} | changes
    torch.manual_seed(1)
    model = BVLLMForConditionalGeneration(BVLLMConfig(**settings))
    batch = list(islice(clips(busy_bank, "train", (8, 40), 8, 5, 1.0), 6))
    tellings = Tellings(model.get_input_embeddings().weight, world_tokenizer, Where(48))
    model.requires_grad_(False)
    parameters = list(model.model.multi_modal_projector.requires_grad_(True).parameters())
    optimizer = torch.optim.Adam(parameters, lr=1e-2)

    def loss(bank):
        return match_loss(model, world_tokenizer, bank, batch, tellings, np.random.default_rng(0))[0]

    before = loss(busy_bank).item()
    for _ in range(60):
        optimizer.zero_grad()
        loss(busy_bank).backward()
        optimizer.step()
    with torch.no_grad():
        learned = loss(busy_bank).item()
        swapped = loss(replace(busy_bank, patches=busy_bank.patches.roll(7, 0))).item()
    assert learned < 0.8 * before
    assert swapped > 1.1 * learned


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
    parts = ("places", "token_sampler", "multi_modal_projector")
    assert all(any(f"model.{part}." in name for name in changed) for part in parts)
    assert all(any(f"model.{part}." in name for part in parts) for name in changed)
