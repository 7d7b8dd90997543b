"""A further turn from a cache, a batch without a mask, inputs that were cast: the same answer or an error."""

import pytest
import torch

from tests.model import tiny

NEW = 4
SECOND = [5, 8, 10, 2, 3, 6]  # words of a further turn


@pytest.fixture(scope="module", params=["model", "agreeing_model"])
def model(request):
    """With and without unused placeholders."""
    return getattr(tiny, request.param)()


def conversation(count: int = 2):
    return tiny.batch(*[tiny.ask(tiny.clip(7, seed=k)) for k in range(count)])


def first_turn(model, inputs):
    return model.generate(**inputs, max_new_tokens=NEW, return_dict_in_generate=True)


def longer(inputs, written):
    more = torch.tensor([SECOND] * len(written))
    ids = torch.cat([written, more], dim=1)
    grown = torch.ones(len(ids), ids.shape[1] - inputs["attention_mask"].shape[1], dtype=torch.long)
    return ids, torch.cat([inputs["attention_mask"], grown], dim=1)


def test_a_further_turn_from_the_cache_is_the_uncached_one(model):
    inputs = conversation()
    first = first_turn(model, inputs)
    ids, mask = longer(inputs, first.sequences)
    cached = model.generate(
        ids, attention_mask=mask, past_key_values=first.past_key_values, max_new_tokens=NEW
    )
    plain = model.generate(**{**inputs, "input_ids": ids, "attention_mask": mask}, max_new_tokens=NEW)
    assert torch.equal(cached, plain)


def test_a_third_turn_goes_on_as_well(model):
    inputs = conversation(1)
    cache, ids, mask = None, inputs["input_ids"], inputs["attention_mask"]
    for _ in range(3):
        given = (
            inputs if cache is None else {"input_ids": ids, "attention_mask": mask, "past_key_values": cache}
        )
        found = model.generate(**given, max_new_tokens=NEW, return_dict_in_generate=True)
        plain = model.generate(**{**inputs, "input_ids": ids, "attention_mask": mask}, max_new_tokens=NEW)
        assert torch.equal(found.sequences, plain)
        cache = found.past_key_values
        ids, mask = longer(inputs, found.sequences)


def test_pixels_beside_a_cache_are_refused_by_name(model):
    inputs = conversation()
    first = first_turn(model, inputs)
    with pytest.raises(ValueError, match="pixel_values_videos must be left out of a further turn"):
        model.generate(**inputs, past_key_values=first.past_key_values, max_new_tokens=1)


def test_a_cache_of_another_prompt_is_refused():
    model, inputs = tiny.agreeing_model(), conversation()
    first = first_turn(model, inputs)
    ids, mask = longer(inputs, first.sequences)
    ids[0, 1] = 7
    with pytest.raises(ValueError, match="input_ids must begin with"):
        model.generate(ids, attention_mask=mask, past_key_values=first.past_key_values, max_new_tokens=1)


def test_a_cache_that_ends_before_a_clip_is_refused(model):
    text = tiny.batch(tiny.ask(text="what ?"))
    cache = first_turn(model, text).past_key_values
    with pytest.raises(ValueError, match="past_key_values must hold every clip"):
        model.generate(conversation(1)["input_ids"].repeat(1, 3), past_key_values=cache, max_new_tokens=1)


def test_a_padded_batch_without_a_mask_is_read_as_with_one(model):
    inputs = tiny.batch(tiny.ask(tiny.clip(7)), tiny.ask(tiny.clip(3), text="is red ?"))
    bare = {name: value for name, value in inputs.items() if name != "attention_mask"}
    assert not bool(inputs["attention_mask"].all())
    assert torch.equal(
        model.generate(**bare, max_new_tokens=NEW), model.generate(**inputs, max_new_tokens=NEW)
    )
    there = inputs["attention_mask"].bool()
    torch.testing.assert_close(model(**bare).logits[there], model(**inputs).logits[there])


def test_padding_that_ends_replies_needs_a_mask():
    model = tiny.model(text_config=tiny.text_config(eos_token_id=0))
    inputs = tiny.batch(tiny.ask(text="what is red ?"), tiny.ask(text="what ?"))
    with pytest.raises(ValueError, match="attention_mask must be given"):
        model(inputs["input_ids"])


def test_a_cast_rounds_no_time():
    made = tiny.processor().apply_chat_template(
        tiny.ask(tiny.clip(200, step=3.7)), tokenize=True, add_generation_prompt=True
    )
    before = made["video_seconds"].clone()
    cast = made.to(torch.bfloat16)
    assert torch.equal(cast["video_seconds"], before)
    assert cast["pixel_values_videos"].dtype == torch.bfloat16
    model = tiny.model().to(torch.bfloat16)
    model.generate(**cast, max_new_tokens=1)
    with pytest.raises(ValueError, match="video_seconds must be float32 or float64"):
        model.generate(**{**cast, "video_seconds": before.bfloat16()}, max_new_tokens=1)


def test_frames_of_a_long_video_do_not_tie_in_bfloat16():
    torch.manual_seed(0)
    selector = tiny.model().to(torch.bfloat16).model.frame_selector
    frames = torch.randn(1, 1800, 16).bfloat16()
    seconds = torch.arange(1800.0)[None]
    with torch.inference_mode():
        logits = selector(frames, torch.ones(1, 1800, dtype=torch.bool), seconds)
    assert logits.dtype == torch.float32
    assert all(len(row.unique()) > 1790 for row in logits[0])
