"""Dynamic-nano's training: prompts as the processor's, cells as the world lies, steps that learn."""

import re
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPVisionModel, Qwen2Model

from bvllm.inference.ask import ask, load_model
from bvllm.model.clock import ClockEmbedding
from bvllm.model.dynamic import DynamicVLMConfig, DynamicVLMForConditionalGeneration, DynamicVLMProcessor
from bvllm.model.presets import nano_text, nano_vision
from bvllm.model.text_encoder import TextEncoder
from bvllm.model.visual_parts import Projector
from bvllm.nano import captions
from bvllm.nano.busy_examples import BusyExample
from bvllm.nano.busy_pool import draw_busy_pool
from bvllm.nano.captions import IGNORE
from bvllm.nano.dynamic import align, steps, train, tuning
from bvllm.nano.dynamic.align import align_cells, cells_of_needle, cells_of_scene, settle
from bvllm.nano.dynamic.exam import by_task, exam_clips, option_likelihoods, right_words, with_options
from bvllm.nano.dynamic.steps import (
    LEAST,
    DynamicClip,
    LikeLengths,
    SideDraw,
    dynamic_clips,
    dynamic_loss,
    picture_sets,
    write_batch,
)
from bvllm.nano.dynamic.train import DynamicRecipe, train_dynamic_nano
from bvllm.nano.dynamic.tuning import DynamicStage, Exam, tune_dynamic
from bvllm.nano.feature_cache import FeatureCache
from bvllm.nano.frame_dataset import FrameDataset, draw_pool
from bvllm.nano.language import Where
from bvllm.nano.loop import Control
from bvllm.nano.start import WarmParts
from bvllm.nano.tellings import Tellings
from bvllm.stages.frame_grids import Grid
from bvllm.synthetic.busy.things import Scene, Thing
from bvllm.synthetic.needles import Sticker
from bvllm.synthetic.tokenizer import CHAT_TEMPLATE
from bvllm.types import Budget
from bvllm.video import FrameList
from tests.model.dynamic.tiny_dynamic import TOKENIZER, VIDEO_ID, chat, dynamic_config
from tests.test_messages import HOUSE

NATIVE = Grid(4, 4)


@pytest.fixture(scope="module")
def bank():
    """Busy scenes with random features: tested is which rows are taken, and what reaches what."""
    pool = draw_busy_pool(16, seed=3, image_size=32, workers=1)
    plain = FrameDataset(torch.zeros(0, 3, 32, 32), (), torch.zeros(0), torch.zeros(0))
    torch.manual_seed(0)
    return FeatureCache.index(plain, torch.randn(len(pool), 16), torch.randn(len(pool), 16, 16), pool)


@pytest.fixture
def model():
    config: DynamicVLMConfig = dynamic_config(
        clock=True, place_channels=4, tie_word_embeddings=True, initializer_range=0.07
    )
    torch.manual_seed(1)
    return DynamicVLMForConditionalGeneration(config)


def _ids(text):
    return TOKENIZER(text, add_special_tokens=False).input_ids


@pytest.fixture(scope="module")
def clips(bank):
    return list(islice(dynamic_clips(bank, "train", (8, 12), 1, 1.0), 6))


def test_a_training_prompt_is_what_the_processor_writes(model, bank, clips):
    batch = write_batch(model, TOKENIZER, bank, clips, [30] * len(clips))
    processor = DynamicVLMProcessor.for_model(model.config, TOKENIZER, chat_template=CHAT_TEMPLATE)
    processor.budget_tokens = 30
    for row, labels, clip in zip(batch.ids, batch.labels, clips):
        video = FrameList(
            torch.zeros(len(clip.rows), 3, 16, 16, dtype=torch.uint8), list(map(float, range(len(clip.rows))))
        )
        theirs = processor.apply_chat_template(
            [chat(video, clip.example.prompt)], tokenize=True, add_generation_prompt=True
        )
        asked = int((labels != IGNORE).nonzero()[0])
        assert row[:asked].tolist() == theirs["input_ids"][0].tolist()
        assert int((row == VIDEO_ID).sum()) <= 30


def test_a_set_of_pictures_is_written_as_several_pictures_are(model, bank):
    [clip] = islice(picture_sets(bank, 3), 1)
    assert 2 <= len(clip.rows) <= 6
    [place] = clip.example.question.needles
    scene = clip.example.timeline.shown[place].scene
    assert clip.rows[place] - len(bank.pool) == bank.busy.rows_of(scene)[0]
    assert not re.match(r"\d\d:\d\d", clip.example.reply)  # pictures have no times
    batch = write_batch(model, TOKENIZER, bank, [clip], [30])
    assert batch.seconds.tolist() == [0.0] * len(clip.rows)
    processor = DynamicVLMProcessor.for_model(model.config, TOKENIZER, chat_template=CHAT_TEMPLATE)
    processor.budget_tokens = 30
    content = [{"type": "image", "image": Image.new("RGB", (16, 16))} for _ in clip.rows]
    content.append({"type": "text", "text": clip.example.prompt})
    theirs = processor.apply_chat_template(
        [[{"role": "user", "content": content}]], tokenize=True, add_generation_prompt=True
    )
    asked = int((batch.labels[0] != IGNORE).nonzero()[0])
    assert batch.ids[0, :asked].tolist() == theirs["input_ids"][0].tolist()


def test_every_step_has_about_as_many_tokens_and_clips_of_like_length(bank):
    stream, rng = dynamic_clips(bank, "train", (8, 60), 2, 1.0), np.random.default_rng(0)
    queue = LikeLengths(stream, 3000, rng)
    for each in (1, 4, 16):
        some = queue.take(each, 512)
        lengths = [len(c.rows) for c in some]
        assert max(lengths) <= 2 * min(lengths)
        tokens = sum(min(512, n * each) + 4 * n + 45 for n in lengths)
        assert tokens < 4500 or len(some) == 4


def test_a_drilled_clip_says_what_it_looks_up_after_its_questions(model, bank):
    found = dynamic_clips(bank, "train", (8, 12), 1, 1.0, turns=True, drilled=1.0)
    assert not any(clip.pictures for clip in islice(found, 10))
    clip = next(clip for clip in found if clip.lookups)
    plain = replace(clip, lookups=())
    drilled, without = (
        write_batch(model, TOKENIZER, bank, [one], [64 * len(clip.rows)]) for one in (clip, plain)
    )
    length = without.ids.shape[1]
    assert torch.equal(drilled.ids[:, :length], without.ids)
    assert drilled.no_answer[:, length:].all()  # no answers
    learned = drilled.labels[0, length:]
    learned = TOKENIZER.decode(learned[learned != IGNORE]).split()
    assert learned == TOKENIZER.decode(_ids(" ".join(found for _, found in clip.lookups))).split()
    assert clip.text_tokens > plain.text_tokens
    assert not any(
        one.lookups for one in islice(dynamic_clips(bank, "train", (8, 12), 1, 1.0, turns=True), 20)
    )


def test_coarse_frames_are_not_drilled(bank):
    stream = dynamic_clips(bank, "train", (8, 12), 1, 1.0, turns=True, drilled=1.0)
    queue = LikeLengths(stream, 3000, np.random.default_rng(0))
    assert any(clip.lookups for clip in queue.take(16, 512))
    assert not any(clip.lookups for clip in queue.take(9, 512))


def test_of_an_uneven_clip_the_scenes_that_it_speaks_of_are_fine(model, bank):
    found = dynamic_clips(bank, "train", (40, 60), 4, 1.0, turns=True, drilled=1.0, uneven=1.0)
    some = [clip for clip in islice(found, 12) if clip.fine]
    assert len(some) > 6
    for clip in some:
        assert len(clip.fine) <= steps.FINE_FRAMES < len(clip.rows)
        shown = clip.example.timeline.shown
        for example in (clip.example, *clip.further):
            assert example.question.needles
            assert {int(shown[k].start) for k in example.question.needles} <= clip.fine
        clocks = {f"{t // 60:02d}:{t % 60:02d}" for t in clip.fine}
        said = {clock for pair in clip.lookups for clock in re.findall(r"\d\d:\d\d", " ".join(pair))}
        assert said <= clocks
        fine = steps.FINE_TOKENS * len(clip.fine)
        assert clip.visual_tokens(16, 512) == fine + len(clip.rows) - len(clip.fine)
        batch = write_batch(model, TOKENIZER, bank, [clip], [1])
        cells = [grid.cells for grid in batch.grids]
        assert cells == [16 if t in clip.fine else 1 for t in range(len(clip.rows))]
    asked = max(1 + len(clip.further) for clip in some)
    assert 3 < asked <= 2 * steps.TURNS  # several share one reading; listings come on top


def test_a_plain_clip_has_a_budget_of_its_own(model, monkeypatch):
    pool = draw_pool(30, split="train", seed=3, image_size=32, workers=1)
    frames = torch.randn(len(pool), 16), torch.randn(len(pool), 16, 16)
    bank = FeatureCache.index(pool, *frames, draw_busy_pool(16, seed=3, image_size=32, workers=1))
    drawn = list(islice(dynamic_clips(bank, "train", (8, 60), 4, 0.2, turns=True, plain_most=512), 50))
    plain = [clip for clip in drawn if not isinstance(clip.example, BusyExample)]
    assert 15 < len(plain) < 50
    own = [clip.most for clip in plain]
    assert min(own) >= LEAST
    assert max(own) <= 512
    assert 64 < np.median(own) < 180  # by ratio: 90, where evenly were 264
    assert {clip.most for clip in drawn if isinstance(clip.example, BusyExample)} == {None}
    clip = max(plain, key=lambda clip: len(clip.rows))
    for most in (20, 200):
        asked = replace(clip, most=most)
        assert asked.budget(16, 512) == asked.visual_tokens(16, 512) == min(most, 16 * len(clip.rows))
        assert asked.budget(16, 10) == 10
        assert asked.budget(1, 512) <= len(clip.rows)
    whole = dynamic_clips(bank, "train", (8, 60), 4, 0.2, turns=True)
    assert {clip.most for clip in islice(whole, 10)} == {None}

    spent = []

    def write(*args):
        spent.extend(zip(args[3], args[4], strict=True))
        return write_batch(*args)

    monkeypatch.setattr(tuning, "write_batch", write)
    stage = DynamicStage(
        "x",
        ("compressor", "multi_modal_projector"),
        2,
        5,
        1e-3,
        room=600,
        native=1.0,
        busy=0.0,
        plain_most=40,
    )
    tune_dynamic(model, TOKENIZER, bank, stage, seed=5)
    assert spent
    assert all(LEAST <= given == min(clip.most, 16 * len(clip.rows)) for clip, given in spent)


def test_two_halves_side_by_side_are_the_mean_of_both(model, bank, monkeypatch):
    """With one thread and with two: the same weights after a step, which are those of the mean loss."""
    stage = DynamicStage("short", ("language_model",), steps=1, minutes=5, lr=1e-3, room=600, busy=1.0)
    start, made = {n: p.clone() for n, p in model.named_parameters()}, []
    for threads in (1, 2):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        model.load_state_dict(start, strict=False)
        tune_dynamic(model, TOKENIZER, bank, stage, seed=5)
        made.append({n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None})
    assert made[0].keys() == made[1].keys()
    assert all(torch.allclose(made[0][n], made[1][n], atol=1e-5) for n in made[0])
    norm = sum(float(g.square().sum()) for g in made[0].values())
    assert norm == pytest.approx(1.0, abs=0.02) or norm < 1  # clipped as one


def test_frames_stand_at_the_seconds_that_a_clip_says(model, bank, clips):
    clip = clips[0]
    later = replace(clip, rows=clip.rows[:2], seconds=torch.tensor([5.0, 9.0], dtype=torch.float64))
    batch = write_batch(model, TOKENIZER, bank, [later], [8])
    assert batch.seconds.tolist() == [5.0, 9.0]
    assert "5s:" in TOKENIZER.decode(batch.ids[0]).replace(" ", "")
    [asked] = with_options([later])
    assert asked.seconds is later.seconds


def test_a_share_of_the_steps_takes_the_native_grid():
    rng = np.random.default_rng(1)
    drawn = [SideDraw(native=0.5).tokens(rng, Grid(8, 8)) for _ in range(800)]
    assert 400 < drawn.count(64) < 520
    assert min(drawn) == 1


def test_the_draw_by_side_meets_the_native_grid_often_and_the_papers_hardly_ever():
    rng = np.random.default_rng(1)
    drawn = {by: [SideDraw(by).tokens(rng, Grid(8, 8)) for _ in range(800)] for by in (True, False)}
    assert {min(v) for v in drawn.values()} == {1}
    assert {max(v) for v in drawn.values()} == {64}
    assert drawn[True].count(64) > 5 * drawn[False].count(64)
    assert SideDraw(fixed=9).tokens(rng, Grid(8, 8)) == 9


def test_cells_tell_of_the_thing_in_their_middle():
    star = Thing("star", "red", 0.1, 0.1, 0.05)
    moon = Thing("moon", "blue", 0.9, 0.6, 0.05)
    fine = cells_of_scene(Scene((star, moon), 3), 0.0, NATIVE)
    assert {cell: told.words for cell, told in fine.told.items()} == {
        0: f"{star.words} top left",
        11: f"{moon.words} middle right",
    }
    assert 5 not in fine.touched
    whole = cells_of_scene(Scene((star, moon), 3), 0.0, Grid(1, 1))
    assert (whole.told, whole.touched) == ({}, {0})  # two things in one cell are no one thing
    needle = cells_of_needle(Sticker("star", "red", ("top left",)), 0.5, Grid(2, 2))
    assert [told.words for told in needle.told.values()] == ["one red star top left"]
    assert 0 in needle.told
    assert cells_of_needle(None, 0.0, NATIVE).touched == set()


def test_a_projector_settles_on_channels_of_any_size():
    torch.manual_seed(0)
    x = torch.randn(500, 8) * torch.tensor([1e-3, 1.0, 1e3, 1.0, 1.0, 1.0, 1.0, 1.0]) + 5
    projector = Projector(8, 16, "gelu")
    settle(projector, x, 0.3)
    assert projector(x).std().item() == pytest.approx(0.3, rel=0.05)
    assert (projector.linear_1(x).std(dim=0) > 0.2).all()


def test_aligned_cells_say_more_of_what_they_show(model, bank):
    lines, untold = [], model.model.places.proj.weight.clone()
    align_cells(
        model,
        TOKENIZER,
        bank,
        Where(32),
        steps=40,
        minutes=1,
        frames=24,
        seed=1,
        control=Control(lines.append),
    )
    assert "unexplained" in lines[-1]
    assert model.model.multi_modal_projector.linear_1.weight.requires_grad
    assert not torch.equal(model.model.places.proj.weight, untold)
    assert not model.model.language_model.embed_tokens.weight.requires_grad


def test_aligned_queries_tell_of_what_a_frame_holds(bank):
    config = dynamic_config(clock=True, place_channels=4, tie_word_embeddings=True, compressor="queries")
    torch.manual_seed(1)
    model, where = DynamicVLMForConditionalGeneration(config), Where(config.text_config.hidden_size)
    words = Tellings(model.model.language_model.get_input_embeddings().weight, TOKENIZER, where)
    cells = [align._Frames(bank).cells(row, NATIVE) for row in range(16)]

    @torch.no_grad()
    def loss():
        made = model.model.compress(bank.patches[:16], [Grid(2, 4)] * 16)
        tokens = model.model.multi_modal_projector(torch.stack([one.features for one in made]))
        return float(align._paired_loss(tokens, cells, words))

    align_cells(model, TOKENIZER, bank, where, steps=1, minutes=60, frames=16, lr=0.0)
    settled = loss()
    align_cells(model, TOKENIZER, bank, where, steps=60, minutes=60, frames=16)
    assert loss() < 0.95 * settled
    gradients = [float(p.grad.abs().max()) for p in model.model.compressor.parameters()]
    assert min(gradients) > 0  # queries, places and keys all learn


def test_a_stage_lowers_the_loss_and_leaves_the_tower_alone(model, bank, clips, monkeypatch):
    monkeypatch.setattr(tuning, "WARMUP", 2)
    tower = {n: p.clone() for n, p in model.model.vision_tower.named_parameters()}
    before = dynamic_loss(model, write_batch(model, TOKENIZER, bank, clips, [40] * 6)).loss.item()
    stage = DynamicStage(
        "short", ("multi_modal_projector", "clock", "language_model"), steps=8, minutes=1, lr=6e-3,
        room=600, seconds=(8, 12), busy=1.0,
    )  # fmt: skip
    lines = []
    exam = Exam(bank, {"busy": clips[:2]}, 40)
    tune_dynamic(model, TOKENIZER, bank, stage, seed=1, exam=exam, control=Control(lines.append))
    assert (
        dynamic_loss(model, write_batch(model, TOKENIZER, bank, clips, [40] * 6)).loss.item() < 0.9 * before
    )
    assert all(torch.equal(p, tower[n]) for n, p in model.model.vision_tower.named_parameters())
    assert "unseen scenes at 40 tokens: busy" in lines[-1]


def test_an_exam_gives_each_option_its_share_whatever_stands_beside_it(model, bank):
    asked = list(with_options(exam_clips(bank, (8, 20), 12, 5, busy=True)))
    together = option_likelihoods(model, TOKENIZER, bank, asked, 40)
    for clip, likely in zip(asked, together):
        assert len(likely) == len(clip.example.question.options)
        [alone] = option_likelihoods(model, TOKENIZER, bank, [clip], 40)
        torch.testing.assert_close(alone, likely, atol=1e-4, rtol=1e-3)
    right = right_words(model, TOKENIZER, bank, asked, 40)
    assert sum(n for _, n in by_task(asked, right).values()) == len(asked)


def test_a_run_needs_a_finished_warm_one(tmp_path):
    with pytest.raises(ValueError, match="--warm must be a run of nano with a finished tower") as error:
        train_dynamic_nano(tmp_path / "out", warm=tmp_path)
    assert HOUSE.search(str(error.value))


def test_the_whole_recipe_leaves_a_model_that_answers_and_goes_on(tmp_path, bank, monkeypatch):
    """Every stage in a step or two; pools and nano's stages are put in their places."""
    text = nano_text(len(TOKENIZER), pad_token_id=TOKENIZER.pad_token_id, eos_token_id=TOKENIZER.eos_token_id)
    parts = WarmParts(
        CLIPVisionModel(nano_vision()),
        TextEncoder(["red"], 128),
        Qwen2Model(text),
        ClockEmbedding(192),
        Where(192),
    )
    wide = FeatureCache.index(
        bank.pool, torch.randn(len(bank.frames), 128), torch.randn(len(bank.frames), 64, 128), bank.busy
    )
    monkeypatch.setattr(train, "draw_pools", lambda *_: (bank.pool, bank.busy))
    monkeypatch.setattr(train, "warm_parts", lambda *_: parts)
    monkeypatch.setattr(train, "encode_pool", lambda *_: wide)
    monkeypatch.setattr(captions, "examples", lambda *_: bare_stream())
    stage = DynamicStage(
        "short", train.LEARNS, steps=1, minutes=1, lr=1e-3, room=200, seconds=(8, 10), busy=1.0
    )
    recipe = DynamicRecipe(projector_steps=1, stages=(stage,), exam_scenes=0)
    folder = train_dynamic_nano(tmp_path / "run", recipe=recipe, control=Control(log=lambda line: None))
    model = load_model(str(folder))
    assert model.words is not None
    frames = torch.zeros(3, 3, 128, 128, dtype=torch.uint8)
    assert 15 <= ask(frames, "which colour?", model, budget=Budget(16, 8), max_new_tokens=1).tokens <= 16
    assert sum(file.stat().st_size for file in folder.iterdir()) < 8_000_000
    (folder / "done").unlink()
    again = train_dynamic_nano(
        tmp_path / "run", recipe=recipe, resume=True, control=Control(log=lambda line: None)
    )
    assert again == folder


def bare_stream():
    """Plain examples that nobody asks for."""
    return iter(())


def test_a_clip_is_an_example_with_its_rows(clips, bank):
    assert all(isinstance(clip, DynamicClip) and int(clip.rows.max()) < len(bank.frames) for clip in clips)
