"""Busy scenes in training: what frames and patches show, what is told of them, where tokens should look."""

from collections import Counter
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch

from bvllm.nano.busy_examples import TOLD_THINGS, busy_examples
from bvllm.nano.busy_heads import BusyHeads, BusyTargets
from bvllm.nano.busy_pool import COVERED, SHAPE_NAMES, covered
from bvllm.nano.captions import NOWHERE, CaptionEncoder, collate, oracle_frames
from bvllm.nano.language import Where
from bvllm.nano.looks import aims, looking_loss, watched
from bvllm.nano.loop import Control
from bvllm.nano.probe import probe
from bvllm.nano.steps import clips, hard_selection, step_loss
from bvllm.nano.tuning import ALIGNMENT, _examined, tune
from bvllm.synthetic.busy.spatial import SPATIAL
from bvllm.synthetic.busy.things import LABELS

GRID = 4


def examples(busy_pool, count=40, seconds=(8, 60), seed=1):
    return list(islice(busy_examples(busy_pool, seconds, seed), count))


def test_a_box_covers_what_it_covers():
    share = covered(0.5, 0.5, (0.25, 0.25), GRID).reshape(GRID, GRID)
    assert share.tolist() == [[0, 0, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]]
    assert covered(0.125, 0.875, (0.0625, 0.125), GRID)[12] == pytest.approx(0.5)


def test_patches_and_frames_are_labelled_with_what_lies_there(busy_pool):
    labels = busy_pool.patch_labels(GRID)
    whole, names = busy_pool.frame_labels()
    for number in (0, 7, 31):
        scene, row = busy_pool.scenes[number], int(busy_pool.first[number])
        assert {LABELS[k] for k in whole[row].nonzero()[:, 0]} == set(scene.labels)
        assert int(names[row].sum()) == len({(t.shape, t.colour) for t in scene.seen(0.0) if not t.is_sign})
        for patch in range(GRID * GRID):
            over = [t for t in scene.seen(0.0)
                    if covered(*scene.place(t, 0.0), t.half(), GRID)[patch] >= COVERED]  # fmt: skip
            assert (int(labels.shape[row, patch]) > 0) == bool(over)
            if over:
                shapes = {1 + SHAPE_NAMES.index(t.shape) for t in over}
                assert int(labels.shape[row, patch]) in shapes


def test_a_clip_is_its_scenes_rows_one_after_another(busy_pool, busy_bank):
    rng = np.random.default_rng(0)
    for example in examples(busy_pool, 12):
        rows = busy_bank.clip_rows(example, rng)
        assert len(rows) == example.frames
        for shown in example.timeline.shown:
            start, length = int(shown.start), int(shown.end - shown.start)
            assert rows[start : start + length].tolist() == busy_pool.rows_of(shown.scene)[:length].tolist()


def test_asked_scenes_are_the_only_ones_of_their_sign_and_their_ends_are_shown(busy_pool):
    seen = set()
    for example in examples(busy_pool, 60):
        asked = [example.timeline.shown[k] for k in example.asked]
        for shown in asked if example.question.task != "repetition" else []:
            others = [s for s in example.timeline.shown if s is not shown]
            assert not any(shown.scene.anchor in other.scene.labels for other in others)
        assert set(example.key_frames()) <= set(example.asked_frames())
        assert set(example.key_frames()) <= set(oracle_frames(example, np.random.default_rng(0)))
        seen.add(example.question.task)
    assert len(seen) >= 10


def test_what_is_asked_about_is_told_with_its_place(busy_pool):
    rng = np.random.default_rng(0)
    for example in examples(busy_pool, 40):
        for time in example.key_frames():
            told = example.told(time, rng)
            assert 1 <= len(told) <= TOLD_THINGS
            scene = example.timeline.at(time).scene
            age = time - example.timeline.at(time).start
            for thing in example.question.about[:4]:
                if any(thing is other for other in scene.seen(age)):
                    assert any(one.words.startswith(f"{thing.words} ") for one in told)
            assert all(one.place is not None and max(map(abs, one.place)) < 1 for one in told)


def test_wrong_options_are_told_where_there_is_room_so_that_to_be_told_is_no_answer(busy_pool):
    """The asked things are always told: were others told by chance, the option that is told would win."""
    rng, asked = np.random.default_rng(0), 0
    for example in examples(busy_pool, 200):
        question = example.question
        if question.task not in ("relation", "region", "arrival"):
            continue
        time = example.key_frames()[-1]
        shown = example.timeline.at(time)
        told = [one.words for one in example.told(time, rng)]
        wrong = [o for o in question.options if o != question.options[question.right]]
        there = [t for t in shown.scene.seen(time - shown.start) if t.name in wrong]
        assert len(told) == min(TOLD_THINGS, len(shown.scene.seen(time - shown.start)))
        assert all(any(words.startswith(f"{thing.words} ") for words in told) for thing in there)
        asked += 1
    assert asked > 20


def test_places_reach_the_language_model_and_plain_captions_have_none(busy_pool, world_tokenizer):
    encoder, rng = CaptionEncoder(world_tokenizer), np.random.default_rng(0)
    videos = [encoder.encode(e, oracle_frames(e, rng), rng) for e in examples(busy_pool, 6)]
    batch = collate(videos, 1, 0)
    assert len(batch.places) == len(batch.seconds) == len(batch.offsets) == int(batch.captioned.sum())
    where = Where(8)
    assert bool(where(batch.places).any(dim=1).all())
    assert not where(torch.tensor([NOWHERE])).any()


def test_tokens_should_look_at_what_is_asked_at_each_thing_alike(busy_pool):
    found = 0
    for example in examples(busy_pool, 60):
        if example.question.task not in SPATIAL:
            continue
        time = example.key_frames()[0]
        selection = hard_selection([time, (time + 40) % example.frames], example.frames)
        here, elsewhere = aims(example, selection, GRID)
        if here is None:
            continue
        found += 1
        shown = example.timeline.at(time)
        touched = np.zeros(GRID * GRID, dtype=bool)
        for thing in example.question.about:
            touched |= covered(*shown.scene.place(thing, time - shown.start), thing.half(), GRID) >= COVERED
        assert torch.equal(here > 0, torch.from_numpy(touched))
        assert float(here.sum()) == pytest.approx(1.0)
        if example.timeline.at((time + 40) % example.frames) is not shown:
            assert elsewhere is None
    assert found > 10


def test_the_loss_is_least_where_the_tokens_look_there():
    aim = torch.tensor([0.5, 0.5, 0.0, 0.0])
    there = torch.tensor([[[1.0, 0, 0, 0], [0, 1.0, 0, 0]]])
    away = torch.tensor([[[0, 0, 1.0, 0], [0, 0, 0, 1.0]]])
    assert looking_loss(there, [aim]) < 0.7 < 5 < looking_loss(away, [aim])
    assert float(looking_loss(away, [None])) == 0.0


def test_maps_have_gradients_and_are_those_that_the_sampler_shows(busy_model):
    patches, ids = torch.randn(2, 16, 16), torch.randint(5, 40, (2, 6))
    with watched(busy_model.model.token_sampler) as maps:
        _, shown = busy_model.model.token_sampler(patches, ids, torch.ones_like(ids))
    torch.testing.assert_close(maps[0].detach(), shown.detach(), atol=1e-5, rtol=1e-4)
    maps[0].sum(dim=-1).square().sum().backward()
    assert maps[0].requires_grad


def test_a_step_aligns_the_sampler_through_the_frozen_language_model(busy_model, world_tokenizer, busy_bank):
    batch = list(islice(clips(busy_bank, "train", (8, 24), 8, 5, 1.0), 6))
    busy_model.requires_grad_(False)
    busy_model.model.token_sampler.requires_grad_(True)
    loss = step_loss(
        busy_model, world_tokenizer, busy_bank, batch, oracle=1.0, rng=np.random.default_rng(0), looking=True
    )
    (loss.answer + loss.looking).backward()
    assert all(p.grad is None for p in busy_model.model.language_model.parameters())
    assert (
        sum(
            float(p.grad.abs().sum())
            for p in busy_model.model.token_sampler.parameters()
            if p.grad is not None
        )
        > 0
    )
    busy_model.zero_grad()
    assert loss.selection == 0
    assert loss.recall.isnan()


def test_what_the_tokens_carry_is_measured(busy_model, world_tokenizer, busy_bank):
    batch = list(islice(clips(busy_bank, "train", (8, 24), 8, 5, 1.0), 6))
    seen = probe(busy_model, world_tokenizer, busy_bank, batch)
    assert set(seen) == {"right", "copies", "other", "cosine", "distinct"}
    assert -1 <= seen["cosine"] <= 1
    assert 1 <= seen["distinct"] <= busy_model.config.tokens_per_frame
    assert {c.example.question.task for c in _examined(busy_bank, 8)} <= set(SPATIAL)


def test_the_heads_read_patches_and_frames(busy_pool):
    torch.manual_seed(0)
    targets, rows = BusyTargets.of(busy_pool, GRID), torch.arange(24)
    heads, patches, frames = BusyHeads(64), torch.randn(24, 16, 64), torch.randn(24, 64)
    patches, frames = patches.requires_grad_(), frames.requires_grad_()
    optimizer = torch.optim.Adam([*heads.parameters(), patches, frames], lr=0.05)
    first = None
    for _ in range(60):
        loss, right = heads(patches, frames, rows, targets)
        first = first or (loss.item(), right)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.2 * first[0]
    assert right["shape"] > 0.95 > first[1]["shape"]
    assert right["word"] > 0.9


@pytest.mark.slow
def test_alignment_runs_on_busy_scenes(busy_model, world_tokenizer, busy_bank):
    said = []
    before = busy_model.model.token_sampler.reader.queries.weight.clone()
    stage = replace(ALIGNMENT, steps=2, batch=4, minutes=5)
    tune(
        busy_model,
        world_tokenizer,
        busy_bank,
        stage,
        seed=1,
        where=Where(48),
        control=Control(log=said.append),
    )
    assert not torch.equal(before, busy_model.model.token_sampler.reader.queries.weight)


def test_the_same_things_are_told_in_every_frame_of_a_scene(busy_pool):
    """What comes later is then the one thing that was not told before."""
    rng, compared = np.random.default_rng(0), 0
    for example in examples(busy_pool, 60):
        for shown in (example.timeline.shown[k] for k in example.asked):
            names = {id(t): t.words for t in shown.scene.things}
            late = Counter(names[id(t)] for t in shown.scene.things if t.arrives)
            ends = (example.told(t, rng) for t in (int(shown.start), int(shown.end) - 1))
            first, last = (Counter(_thing_words(one.words, names.values()) for one in told) for told in ends)
            assert set(last - first) <= set(late)
            assert not first - last
            compared += sum(first.values())
    assert compared > 100


def _thing_words(said, names):
    return max((name for name in names if said.startswith(name)), key=len)
