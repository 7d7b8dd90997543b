"""A Dynamic-VLM as a Hugging Face model: batches, times, grids, saving, gradients, adapters."""

from types import SimpleNamespace

import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

import bvllm.hf  # noqa: F401  # registers with the Auto classes
from bvllm.model.dynamic import DynamicVLMForConditionalGeneration, DynamicVLMProcessor
from bvllm.model.dynamic.processing_dynamic import SYSTEM
from bvllm.stages.frame_grids import Grid
from tests.model import tiny
from tests.model.dynamic.tiny_dynamic import TOKENIZER, VIDEO_ID, chat, dynamic_model, dynamic_processor
from tests.test_messages import HOUSE

CLIP, LONG = tiny.clip(5, step=2.0), tiny.clip(30, seed=3)
PICTURE, OTHER = tiny.frames(1, seed=1)[0], tiny.frames(1, seed=2)[0]
CHATS = [
    chat(CLIP, "what is shown?"),
    chat(PICTURE, "and", OTHER, "which is red?"),
    chat(PICTURE, LONG, "what is first?"),
    chat("what is a star?"),
]


@pytest.fixture(scope="module")
def model():
    return dynamic_model(clock=True)


@pytest.fixture(scope="module")
def processor(model):
    return dynamic_processor(model)


def inputs_of(processor, chats, **settings):
    return processor.apply_chat_template(chats, tokenize=True, add_generation_prompt=True, **settings)


def test_pictures_videos_and_text_of_a_batch_answer_as_they_do_alone(model, processor):
    together = model.generate(**inputs_of(processor, CHATS), max_new_tokens=4)[:, -4:]
    for row, one in zip(together, CHATS):
        assert torch.equal(model.generate(**inputs_of(processor, [one]), max_new_tokens=4)[0, -4:], row)


TURNS = [*chat(PICTURE, "a ?"), {"role": "assistant", "content": "red"}, *chat(LONG, OTHER, "b ?")]
MIXED = [
    chat("what is a star?"),
    chat(CLIP, LONG, "same?"),
    TURNS,
    chat(PICTURE, OTHER, PICTURE, "?"),
    CHATS[0],
]


@pytest.mark.parametrize("budget, compressor", [(1, "pool"), (2, "merge"), (7, "prune"), (1000, "pool")])
def test_any_mixture_answers_as_alone_at_any_budget(budget, compressor):
    """Text first, several videos in a prompt, pictures of several turns, fewer tokens than clips."""
    model = dynamic_model(clock=True, compressor=compressor, place_channels=4)
    processor = dynamic_processor(model)
    processor.budget_tokens = budget
    found = inputs_of(processor, MIXED)
    spent = (found["input_ids"] == VIDEO_ID).sum(dim=1).tolist()
    frames = [0, 35, 32, 3, 5]
    assert spent == [min(budget, 16 * count) for count in frames]
    for row, one in zip(model.generate(**found, max_new_tokens=2)[:, -2:], MIXED):
        assert torch.equal(model.generate(**inputs_of(processor, [one]), max_new_tokens=2)[0, -2:], row)


@pytest.mark.parametrize("chats, most", [([chat(LONG, "?")], 7), ([chat(LONG, CLIP, "?")], 9)])
def test_frames_that_do_not_stay_are_neither_read_nor_normalised(model, monkeypatch, chats, most):
    """Memory follows the budget: of a file as many frames are decoded as may stay, and those made floats."""
    processor, normalised, read = dynamic_processor(model), [], []
    processor.budget_tokens, processor.max_frames = 7, 9
    normalise, reads = type(processor.video_processor).normalise_clips, type(processor.video_processor).read
    kind = type(processor.video_processor)
    monkeypatch.setattr(
        kind, "normalise_clips", lambda self, clips: normalised.append(clips) or normalise(self, clips)
    )
    monkeypatch.setattr(
        kind, "read", lambda self, source, plan, *more: read.append(plan) or reads(self, source, plan, *more)
    )
    found = inputs_of(processor, chats)
    assert {plan.max_frames for plan in read} == {most}  # of clips that share the budget any may have it all
    assert [sum(map(len, clips)) for clips in normalised] == [7] == [len(found["pixel_values_videos"])]
    inputs_of(processor, chats, max_frames=3)
    assert {plan.max_frames for plan in read[len(read) // 2 :]} == {3}


def test_a_request_has_a_budget_of_its_own(model, processor):
    found = inputs_of(processor, CHATS, budget_tokens=7)
    other = dynamic_processor(model)
    other.budget_tokens = 7
    wanted = inputs_of(other, CHATS)
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    plain = processor(videos=[CLIP], text="<|video|> ?", budget_tokens=5)
    assert int((plain["input_ids"] == VIDEO_ID).sum()) == 5
    assert processor.budget_tokens == model.config.budget_tokens
    with pytest.raises(ValueError, match="budget_tokens must be at least 1, got 0") as error:
        inputs_of(processor, CHATS, budget_tokens=0)
    assert HOUSE.search(str(error.value))


def test_a_further_turn_with_a_picture_continues_from_the_cache(model, processor):
    first = inputs_of(processor, [CHATS[1]])
    said = model.generate(**first, max_new_tokens=2, return_dict_in_generate=True)
    more = processor(images=[OTHER], text="<|video|> and now ?", add_special_tokens=False)
    ids = torch.cat([said.sequences, more["input_ids"]], dim=1)
    new = {
        name: more[name]
        for name in ("pixel_values_videos", "video_grids", "video_num_frames", "video_seconds")
    }
    again = model.generate(ids, past_key_values=said.past_key_values, max_new_tokens=3, **new)
    whole = {name: torch.cat([first[name], value]) for name, value in new.items()}
    fresh = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=3, **whole)
    assert torch.equal(again, fresh)


def test_beams_of_a_batch_search_as_they_do_alone(model, processor):
    together = model.generate(**inputs_of(processor, CHATS[:3]), max_new_tokens=3, num_beams=2)[:, -3:]
    for row, one in zip(together, CHATS[:3]):
        alone = model.generate(**inputs_of(processor, [one]), max_new_tokens=3, num_beams=2)
        assert torch.equal(alone[0, -3:], row)


def test_a_prompt_holds_as_many_tokens_as_its_grids_and_no_more_than_the_budget(processor):
    found = inputs_of(processor, CHATS)
    frames = (5, 2, 31, 0)
    grids = found["video_grids"].prod(dim=1).split(frames)
    for row, of_prompt in zip(found["input_ids"], grids):
        assert int((row == VIDEO_ID).sum()) == int(of_prompt.sum()) <= 40
    assert found["video_grids"].tolist()[5:7] == [
        [4, 4],
        [4, 4],
    ]  # two pictures share 40 tokens: all they have
    assert int(grids[2].sum()) >= 0.95 * 40


def test_frames_stand_behind_their_true_seconds(processor):
    text = TOKENIZER.decode(inputs_of(processor, CHATS[0])["input_ids"][0]).replace(" ", "")
    marks = text.replace("<|video|>", "")
    assert "0s:;2s:;4s:;6s:;8s:" in marks


def test_frames_closer_than_a_tenth_of_a_second_have_times_of_their_own(processor):
    assert (
        processor.write_clip([1, 1, 1], [0.0, 0.04, 0.08])
        == "0s: <|video|>; 0.04s: <|video|>; 0.08s: <|video|>\n"
    )
    assert processor.write_clip([1, 1], [99.96, 1234567.8]) == "100s: <|video|>; 1234567.8s: <|video|>\n"


def test_a_picture_and_a_processor_without_times_name_no_seconds(processor):
    assert "s:" not in TOKENIZER.decode(inputs_of(processor, CHATS[1])["input_ids"][0]).replace(" ", "")
    assert processor.write_clip([2, 1], [0.0, 1.0]).startswith("0s: ")
    plain = dynamic_processor(dynamic_model(timestamps=False))
    assert plain.write_clip([2, 1], [0.0, 1.0]) == "<|video|>" * 3


def test_frames_that_outnumber_the_tokens_or_the_model_are_thinned_evenly(model):
    processor = dynamic_processor(model)
    processor.budget_tokens = 10
    found = inputs_of(processor, [chat(LONG, "what?")])
    assert found["video_seconds"].tolist() == [1, 4, 7, 10, 13, 16, 19, 22, 25, 28]
    processor.budget_tokens, processor.max_frames = 40, 3
    assert inputs_of(processor, [chat(LONG, "what?")])["video_seconds"].tolist() == [5, 15, 25]


def test_the_papers_system_prompt_stands_where_a_chat_has_none():
    processor = DynamicVLMProcessor.for_model(dynamic_model().config, TOKENIZER)
    given = [{"role": "system", "content": "be brief"}, *CHATS[3]]
    rendered = [processor.apply_chat_template(c, add_generation_prompt=True) for c in (CHATS[3], given)]
    assert [SYSTEM in text for text in rendered] == [True, False]


def test_tokens_of_one_frame_copied_over_the_others_and_shuffled_times_change_the_answer(model, processor):
    found = inputs_of(processor, CHATS[:1])
    logits = model(**found).logits[0, -1]
    copied = {**found, "pixel_values_videos": found["pixel_values_videos"][:1].expand(5, -1, -1, -1)}
    shuffled = {**found, "video_seconds": found["video_seconds"].flip(0)}
    for other in (copied, shuffled):
        assert not torch.allclose(model(**other).logits[0, -1], logits, atol=1e-3)
    later = inputs_of(processor, [chat(tiny.clip(5, step=3.0), "what is shown?")])
    assert not torch.equal(later["input_ids"], found["input_ids"])  # the prompt itself tells the time


def test_the_auto_classes_bring_the_same_model_and_processor_back(model, processor, tmp_path):
    found = inputs_of(processor, CHATS)
    said = model.generate(**found, max_new_tokens=3)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    again = AutoModelForImageTextToText.from_pretrained(tmp_path).eval()
    again.generation_config.eos_token_id = None
    theirs = inputs_of(AutoProcessor.from_pretrained(tmp_path), CHATS)
    assert torch.equal(again.generate(**theirs, max_new_tokens=3), said)
    assert isinstance(again, DynamicVLMForConditionalGeneration)


@pytest.mark.parametrize("compressor", ["pool", "merge", "prune"])
def test_gradients_reach_every_part_and_text_alone_runs_the_visual_side(compressor, processor):
    model = dynamic_model(compressor=compressor, clock=True, place_channels=4).train()
    for chats in (CHATS, CHATS[3:]):
        found = inputs_of(processor, chats)
        model.zero_grad()
        model(
            **found, labels=found["input_ids"].masked_fill(found["input_ids"] == VIDEO_ID, -100)
        ).loss.backward()
        # CLIP's last layer and its LayerNorm are behind `vision_feature_layer`.
        silent = {n for n, p in model.named_parameters() if p.grad is None and "layers.1." not in n}
        assert silent == {f"model.vision_tower.post_layernorm.{n}" for n in ("weight", "bias")}
    assert model.model.multi_modal_projector.linear_1.weight.grad.abs().sum() == 0  # of text alone


def test_the_frame_that_text_alone_sends_through_has_the_towers_own_shape(monkeypatch):
    model, shapes = dynamic_model().model, []

    def see(pixels, *_):
        shapes.append(tuple(pixels.shape))
        return SimpleNamespace(pooler_output=[torch.ones(1, 2)])

    monkeypatch.setattr(model.config.vision_config, "image_size", [24, 40])
    monkeypatch.setattr(model, "get_video_features", see)
    assert float(model._zero_of_everything()) == 0
    assert shapes == [(1, 3, 24, 40)]


def test_an_adapter_learns_and_leaves_the_rest_alone(processor):
    peft = pytest.importorskip("peft")
    adapted = peft.get_peft_model(
        dynamic_model(clock=True),
        peft.LoraConfig(target_modules=r"model\.language_model\..*(q_proj|v_proj)", r=2),
    )
    found = inputs_of(processor, CHATS)
    adapted(**found, labels=found["input_ids"]).loss.backward()
    assert {n.split(".")[-3] for n, p in adapted.named_parameters() if p.grad is not None} == {
        "lora_A",
        "lora_B",
    }


def test_memory_holds_few_frames_patches_at_a_time(model, monkeypatch):
    sizes, encode = [], type(model.model).encode_patches

    def counted(self, pixels):
        sizes.append(len(pixels))
        return encode(self, pixels)

    monkeypatch.setattr(type(model.model), "encode_patches", counted)
    pixels = torch.zeros(50, 3, 16, 16)
    found = model.get_video_features(pixels, torch.ones(50, 2, dtype=torch.long), None, torch.zeros(50))
    assert max(sizes) <= 8
    assert sum(sizes) == len(found.pooler_output) == 50


@pytest.mark.parametrize(
    "change, said",
    [
        ({"video_grids": None}, "video_grids must be given"),
        ({"video_grids": torch.ones(2, 2, dtype=torch.long)}, "video_grids must have one entry"),
        ({"video_grids": torch.ones(5, 2, dtype=torch.long)}, "input_ids must hold 5 placeholders"),
        ({"video_seconds": None}, "video_seconds must be given to a model with a clock"),
        ({"pixel_values_videos": None}, "pixel_values_videos must be given"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(change, said, model, processor):
    found = {**inputs_of(processor, CHATS[:1]), **change}
    with pytest.raises(ValueError, match=said) as error:
        model(**found)
    assert HOUSE.search(str(error.value))


@pytest.mark.parametrize(
    "change, said",
    [
        ({"compressor": "squeeze"}, "compressor must be one of"),
        ({"place_channels": -1}, "place_channels must be a multiple of 4, got -1"),
        ({"allocation": "odd"}, "allocation must be one of"),
        ({"budget_tokens": 0}, "budget_tokens must be at least 1"),
        ({"max_frames": 0}, "max_frames must be at least 1"),
        ({"vision_feature_layer": 9}, "vision_feature_layer must lie in"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(change, said, model):
    with pytest.raises(ValueError, match=said) as error:
        type(model.config)(**model.config.to_dict() | change)
    assert HOUSE.search(str(error.value))


def test_the_configuration_shares_tokens_by_either_rule(model):
    settings = model.config.to_dict() | {"budget_tokens": 30}
    mixed, released = (type(model.config)(**settings | {"allocation": a}) for a in ("mixed", "released"))
    assert sum(g.cells for g in mixed.frame_grids(7)) == 30
    assert released.frame_grids(7) == [Grid(2, 2)] * 7
