"""llava-nano: its packing is transformers' own, its cut-down parts are what they say, its stages learn."""

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch
from transformers import CLIPVisionModel, Qwen2Config, Qwen2Model

from bvllm.common.stopping import Interrupted
from bvllm.nano.busy_pool import draw_busy_pool
from bvllm.nano.feature_cache import FeatureCache
from bvllm.nano.frame_dataset import FrameDataset
from bvllm.nano.language import Where
from bvllm.nano.llava import align
from bvllm.nano.llava import train as module
from bvllm.nano.llava import words as word_stage
from bvllm.nano.llava.align import NOTHING, CoveredPatches, align_projector, told_vectors
from bvllm.nano.llava.build import IMAGE, build_llava, llava_tokenizer, shortened
from bvllm.nano.llava.clips import CLOCKED, seen_clips
from bvllm.nano.llava.train import LlavaRecipe, train_llava_nano
from bvllm.nano.llava.tuning import WHOLE, packed, reply_loss, tune_llava
from bvllm.nano.llava.words import Captions, warm_up_words
from bvllm.nano.loop import Control, StageLoop
from bvllm.nano.progress import mark_done
from bvllm.nano.start import WARM
from bvllm.synthetic.busy.things import COLUMNS, ROWS
from bvllm.synthetic.tokenizer import ASSISTANT, END, USER, VIDEO
from tests.model.tiny import vision_config

SIDE, GRID, WIDTH = 32, 4, 64
SILENT = Control(log=lambda line: None)


@pytest.fixture(scope="module")
def pool():
    return draw_busy_pool(24, seed=5, image_size=SIDE, workers=1)


@pytest.fixture(scope="module")
def bank(pool):
    """Features that tell which thing covers a patch, by a random code of its words but not of its place."""
    plain = FrameDataset(torch.zeros(0, 3, SIDE, SIDE), (), torch.zeros(0), torch.zeros(0))
    things = CoveredPatches.of(pool, GRID)
    torch.manual_seed(0)
    words = sorted({w for text in things.words for w in text.lower().split()})
    code = {w: torch.randn(WIDTH) * (w not in (*ROWS, *COLUMNS)) for w in words}
    told = torch.stack([sum(code[w] for w in text.lower().split()) for text in things.words])
    which = torch.from_numpy(things.which)
    patches = told[which.clamp_min(0)] * (which != NOTHING)[..., None]
    return FeatureCache.index(plain, patches.sum(dim=1), patches, pool)


@pytest.fixture(scope="module")
def tokenizer():
    return llava_tokenizer()


@pytest.fixture(scope="module")
def language_model(tokenizer):
    torch.manual_seed(2)
    return Qwen2Model(
        Qwen2Config(
            vocab_size=len(tokenizer) - 1,
            hidden_size=32,
            intermediate_size=512,
            num_hidden_layers=5,
            num_attention_heads=2,
            num_key_value_heads=2,
            tie_word_embeddings=True,
            initializer_range=0.07,
        )
    ).eval()


@pytest.fixture
def model(tokenizer, language_model, bank):
    torch.manual_seed(3)
    config = vision_config(image_size=SIDE, patch_size=SIDE // GRID, hidden_size=WIDTH, num_hidden_layers=2)
    return build_llava(tokenizer, CLIPVisionModel(config), language_model, bank.patches[:8], seed=1)


def test_tokens_are_packed_as_transformers_packs_them(model):
    pixels = torch.randn(1, 3, 3, SIDE, SIDE)
    with torch.no_grad():
        hidden = model.model.vision_tower(pixels[0], output_hidden_states=True).hidden_states[-2][:, 1:]
        theirs = model.model.get_video_features(
            pixels, vision_feature_layer=-2, vision_feature_select_strategy="default"
        ).pooler_output[0]
        assert torch.equal(packed(model, hidden), theirs)
    assert len(theirs) == 3 * (GRID // 2) ** 2 + 1


def test_a_shortened_model_keeps_what_it_keeps(language_model):
    """With all layers and channels it is the same; with fewer, the strongest channels of each layer stay."""
    x = torch.randn(1, 7, 32)
    with torch.no_grad():
        whole = language_model(inputs_embeds=x).last_hidden_state
        same = shortened(language_model, (0, 1, 2, 3, 4), 512)(inputs_embeds=x).last_hidden_state
        assert torch.allclose(whole, same, atol=1e-6)
        weak = language_model.layers[1].mlp.down_proj.weight
        kept = weak.clone()
        weak[:, 100:132] *= 1e-6  # channels that say nothing
        cut = shortened(language_model, (0, 1, 2, 3, 4), 480)
        weak.copy_(kept)
    assert torch.equal(cut.layers[1].mlp.down_proj.weight, torch.cat([kept[:, :100], kept[:, 132:]], dim=1))
    assert len(shortened(language_model).layers) == 4


def test_new_words_are_the_mean_of_all(model, language_model, tokenizer):
    table = model.get_input_embeddings().weight
    assert torch.equal(table[:-1], language_model.embed_tokens.weight)
    assert torch.allclose(table[-1], language_model.embed_tokens.weight.mean(dim=0))
    assert tokenizer.convert_tokens_to_ids([IMAGE, VIDEO]) == [len(tokenizer) - 1, len(tokenizer) - 2]
    assert model.lm_head.weight is table


def test_every_patch_is_told_of_the_thing_over_it(pool, model, tokenizer):
    things = CoveredPatches.of(pool, GRID)
    labels = pool.patch_labels(GRID)
    there = things.which != NOTHING
    assert np.array_equal(there, labels.shape.numpy() > 0)
    small = np.array([text.startswith("small") for text in things.words])
    assert np.array_equal(small[things.which[there]], labels.small.numpy()[there] == 2)
    torch.manual_seed(0)
    where = Where(32)
    told = told_vectors(model, tokenizer, where, things)
    words = tokenizer(things.words[3], add_special_tokens=False).input_ids
    expected = model.get_input_embeddings().weight[words].sum(dim=0) + where(things.places[3:4])[0]
    assert torch.allclose(told[3], expected, atol=1e-6)


def test_clips_ask_for_no_time_and_mostly_show_what_is_asked(bank):
    found = list(islice(seen_clips(bank, "train", (8, 30), 1.0, 4), 60))
    assert CLOCKED not in {clip.example.question.task for clip in found}
    shown = [bool(set(c.times.tolist()) & set(c.example.asked_frames())) for c in found]
    assert np.mean(shown) > 0.9
    for clip in found:
        assert len(clip.times) == len(clip.rows)
        assert (clip.times.diff() > 0).all()
        assert clip.times[-1] < clip.example.frames
        for example in clip.further:  # shown whole, by the same frames
            assert set(example.key_frames()) <= set(clip.times.tolist())
            assert example.timeline is clip.example.timeline
    assert np.mean([len(clip.further) for clip in found]) > 0.5


def test_questions_in_turns_cost_what_each_costs_behind_those_before(model, tokenizer, bank):
    """One pass over two turns says of each reply what transformers' own pass says of it."""
    clip = next(c for c in seen_clips(bank, "train", (8, 30), 1.0, 4) if c.further)
    clip = replace(clip, further=clip.further[:1])
    with torch.no_grad():
        loss, _ = reply_loss(model, tokenizer, bank, [clip])
        user, *turns = (
            tokenizer(text, add_special_tokens=False).input_ids
            for text in (USER, *(e.prompt + ASSISTANT + e.reply + END for e in (clip.example, *clip.further)))
        )
        embed, shown = model.get_input_embeddings(), packed(model, bank.patches[clip.rows].float())
        text = [embed(torch.tensor(ids)) for ids in (user, turns[0], user + turns[1])]
        logits = model(inputs_embeds=torch.cat([text[0], shown, *text[1:]])[None]).logits[0]
        costs, end = [], len(user) + len(shown)
        for ids, example in ((turns[0], clip.example), (user + turns[1], clip.further[0])):
            end += len(ids)
            reply = tokenizer(example.reply + END, add_special_tokens=False).input_ids
            said = logits[end - len(reply) - 1 : end - 1]
            costs.append(torch.nn.functional.cross_entropy(said, torch.tensor(reply), reduction="none"))
    assert loss.item() == pytest.approx(torch.cat(costs).mean().item(), rel=0.02)  # bfloat16


def test_stages_learn_from_what_is_shown(model, tokenizer, bank, monkeypatch):
    """Aligned and tuned for some steps, the model pays for zeros in the tokens' place."""
    torch.manual_seed(0)
    clips = list(islice(seen_clips(bank, "train", (8, 16), 1.0, 9), 24))

    def cost(blind):
        with torch.no_grad():
            return reply_loss(model, tokenizer, bank, clips, blind=blind)[0].item()

    before = cost(True) - cost(False)
    first = model.model.vision_tower.state_dict()["embeddings.class_embedding"].clone()
    log = []
    where = Where(32).requires_grad_(False)
    where.layers[2].weight.zero_()  # what features do not tell cannot be learned
    where.layers[2].bias.zero_()
    monkeypatch.setattr(align, "STEPS", 250)
    monkeypatch.setattr(align, "FRAMES", 24)
    align_projector(model, tokenizer, bank, where, seed=1, minutes=1, control=Control(log=log.append))
    unexplained = float(log[-1].partition("unexplained ")[2].split()[0])
    assert unexplained < 0.85, log[-1]
    stage = replace(WHOLE, steps=60, batch=12, seconds=(8, 16), busy=1.0, lr=3e-3)
    tune_llava(model, tokenizer, bank, stage, seed=1)
    assert cost(True) - cost(False) > before + 0.02
    assert torch.equal(model.model.vision_tower.state_dict()["embeddings.class_embedding"], first)


def test_words_find_the_frames_that_hold_them(bank, monkeypatch):
    monkeypatch.setattr(word_stage, "STEPS", 500)
    monkeypatch.setattr(word_stage, "BATCH", 48)
    words = warm_up_words(bank, seed=1, minutes=1)
    captions = Captions(bank)
    rng = np.random.default_rng(0)
    said, holds = captions.draw(np.arange(len(bank.frames)), rng)
    frames = torch.nn.functional.normalize(bank.frames, dim=-1)
    best = (words(said) @ frames.mT).argmax(dim=1)
    right = holds[best, torch.arange(len(said))].mean().item()
    chance = holds.mean().item()
    assert right > 3 * chance, (right, chance)


def test_a_warm_run_is_checked(tmp_path):
    with pytest.raises(ValueError, match="--warm must be a run of nano with a finished tower and language"):
        train_llava_nano(tmp_path / "new", warm=tmp_path)
    assert not (tmp_path / "new").exists()


def test_a_run_stops_and_goes_on(tmp_path, monkeypatch, model, bank, language_model):
    """Stages that are done stay; the one that was stopped goes on; other recipes are refused."""
    recipe = LlavaRecipe(
        words_minutes=0.002,
        align_minutes=0.002,
        stages=(replace(WHOLE, name="first", steps=2, batch=2), replace(WHOLE, steps=3, batch=2)),
    )
    for name in WARM:
        (tmp_path / "warm" / name).mkdir(parents=True)
        mark_done(tmp_path / "warm" / name)
    monkeypatch.setattr(module, "_warmed", lambda *_: (model, bank, Where(32)))
    monkeypatch.setattr(module, "save_llava", lambda model, tokenizer, folder: folder.mkdir(exist_ok=True))
    control, descend = Control(log=lambda line: None), StageLoop.descend

    def stopping(loop):
        descend(loop)
        if loop.name == WHOLE.name:
            control.stop.signal = 15

    monkeypatch.setattr(StageLoop, "descend", stopping)
    with pytest.raises(Interrupted, match="stopped in whole"):
        train_llava_nano(tmp_path / "run", warm=tmp_path / "warm", recipe=recipe, control=control)
    assert not (tmp_path / "run/whole/done").exists()
    monkeypatch.setattr(StageLoop, "descend", descend)
    with pytest.raises(ValueError, match="--out must hold no run"):
        train_llava_nano(tmp_path / "run", recipe=recipe)
    log = []
    out = train_llava_nano(tmp_path / "run", recipe=recipe, resume=True, control=Control(log.append))
    assert out.name == "model"
    assert (out / "done").is_file()
    assert (out / "word_tower.safetensors").is_file()
    assert any("whole: going on after step 1" in line for line in log)
    assert not any(line.startswith("first") for line in log), "a finished stage must not run again"
    assert train_llava_nano(tmp_path / "run", recipe=recipe, resume=True, control=SILENT) == out
