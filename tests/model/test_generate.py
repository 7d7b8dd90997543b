"""Generation: whatever the strategy, it continues from the same prompt."""

import pytest
import torch
from transformers import GPT2Config, TextStreamer

from tests.model import tiny

NEW = 5
NAMES = (
    "pixel_values_videos",
    "video_num_frames",
    "video_seconds",
    "qformer_input_ids",
    "qformer_attention_mask",
)


@pytest.fixture(scope="module")
def model():
    return tiny.model()


@pytest.fixture
def inputs():
    return tiny.batch(*tiny.mixed_chats())


def features(model, inputs):
    return model.get_video_features(**{name: inputs[name] for name in NAMES})


def test_the_first_step_is_the_last_place_of_forward(model, inputs):
    out = model.generate(**inputs, max_new_tokens=1, output_logits=True, return_dict_in_generate=True)
    torch.testing.assert_close(out.logits[0], model(**inputs).logits[:, -1], rtol=1e-4, atol=1e-4)


def test_positions_are_counted_alike_where_they_are_absolute():
    text = GPT2Config(vocab_size=len(tiny.VOCABULARY), n_embd=32, n_layer=2, n_head=4, initializer_range=0.3)
    model, inputs = (
        tiny.model(text_config=text),
        tiny.batch(tiny.ask(text="is red ?"), tiny.ask(text="what ?")),
    )
    out = model.generate(**inputs, max_new_tokens=1, output_logits=True, return_dict_in_generate=True)
    torch.testing.assert_close(out.logits[0], model(**inputs).logits[:, -1], rtol=1e-4, atol=1e-4)


def test_every_later_step_is_forward_on_what_was_written(model, inputs):
    written = model.generate(**inputs, max_new_tokens=3)
    mask = torch.cat([inputs["attention_mask"], torch.ones(len(written), 3, dtype=torch.long)], dim=1)
    logits = model(**{**inputs, "input_ids": written, "attention_mask": mask}).logits
    logits[..., tiny.VIDEO_ID] = -torch.inf
    assert torch.equal(logits[:, -4:-1].argmax(-1), written[:, -3:])


@pytest.mark.parametrize(
    "settings",
    [
        {"use_cache": False},
        {"cache_implementation": "static"},
        {"prefill_chunk_size": 4},
        {"num_beams": 1, "return_dict_in_generate": True},
    ],
    ids=lambda s: next(iter(s)),
)
def test_ways_to_the_same_answer(model, inputs, settings):
    plain = model.generate(**inputs, max_new_tokens=NEW)
    other = model.generate(**inputs, max_new_tokens=NEW, **settings)
    other = other.sequences if settings.get("return_dict_in_generate") else other
    assert torch.equal(plain, other)


def test_prompts_come_back_as_they_were(model, inputs):
    out = model.generate(**inputs, max_new_tokens=NEW)
    assert torch.equal(out[:, :-NEW], inputs["input_ids"])
    repeated = model.generate(**inputs, max_new_tokens=NEW, do_sample=True, num_return_sequences=2)
    assert torch.equal(repeated[::2, :-NEW], inputs["input_ids"])
    assert torch.equal(repeated[1::2, :-NEW], inputs["input_ids"])


@pytest.mark.parametrize("settings", [{}, {"num_beams": 3}, {"num_beams": 2, "num_return_sequences": 2}])
def test_a_batch_answers_as_its_rows_do_alone(model, inputs, settings):
    together = model.generate(**inputs, max_new_tokens=NEW, **settings)[:, -NEW:]
    alone = [
        model.generate(**tiny.batch(chat), max_new_tokens=NEW, **settings) for chat in tiny.mixed_chats()
    ]
    assert torch.equal(together, torch.cat([rows[:, -NEW:] for rows in alone]))


def test_sampling_repeats_with_its_seed(model, inputs):
    def drawn(seed):
        torch.manual_seed(seed)
        return model.generate(**inputs, max_new_tokens=NEW, do_sample=True)

    assert torch.equal(drawn(3), drawn(3))
    assert not torch.equal(drawn(3), drawn(4))


def test_tokens_made_before_answer_the_same(model, inputs):
    text = {k: inputs[k] for k in ("input_ids", "attention_mask")}
    visual = features(model, inputs)
    kept = [t.clone() for t in visual.pooler_output]
    again = model.generate(**text, mm_encoder_outputs={"video": visual}, max_new_tokens=NEW, num_beams=2)
    assert torch.equal(again, model.generate(**inputs, max_new_tokens=NEW, num_beams=2))
    assert all(torch.equal(a, b) for a, b in zip(kept, visual.pooler_output, strict=True)), (
        "input was changed"
    )


def test_streaming_says_what_is_returned(model, capsys):
    tokenizer = tiny.tokenizer()
    inputs = tiny.batch(tiny.mixed_chats()[0])
    out = model.generate(**inputs, max_new_tokens=NEW, streamer=TextStreamer(tokenizer, skip_prompt=True))
    assert capsys.readouterr().out.split() == tokenizer.decode(out[0, -NEW:]).split()


def test_no_answer_holds_a_placeholder(model, inputs):
    model.lm_head.weight.data[tiny.VIDEO_ID] *= 50
    try:
        for settings in ({}, {"suppress_tokens": [5]}, {"use_cache": False}):
            out = model.generate(**inputs, max_new_tokens=8, **settings)[:, -8:]
            assert not (out == tiny.VIDEO_ID).any()
            assert not (out == settings.get("suppress_tokens", [-1])[0]).any()
        text_only = model.generate(**tiny.batch(tiny.mixed_chats()[2]), max_new_tokens=8)[:, -8:]
        assert not (text_only == tiny.VIDEO_ID).any()
    finally:
        model.lm_head.weight.data[tiny.VIDEO_ID] /= 50


def test_the_question_and_the_seconds_matter(model):
    def answer(text, step):
        chat = tiny.ask(tiny.clip(7, seed=1, step=step), text=text)
        return features(model, tiny.batch(chat)).pooler_output[0]

    base = answer("which colour is the sign ?", 1.0)
    assert not torch.equal(base, answer("is the star red ?", 1.0))
    assert not torch.equal(base, answer("which colour is the sign ?", 2.0))


def test_a_prompt_that_speaks_of_a_video_needs_one():
    model, inputs = tiny.model(), tiny.batch(*tiny.mixed_chats())
    text = {name: inputs[name] for name in ("input_ids", "attention_mask")}
    for work in (model.generate, model, model.train()):
        with pytest.raises(ValueError, match="pixel_values_videos must be given"):
            work(**text)
