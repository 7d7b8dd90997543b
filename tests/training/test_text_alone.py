"""Batches without anything to see: the loss is what it was, and every part still takes part."""

import torch

from tests.model import tiny


def text_batch():
    inputs = tiny.batch(tiny.ask(text="what is the end ?"), tiny.ask(text="is the star blue ?"))
    return {**inputs, "labels": inputs["input_ids"].masked_fill(inputs["attention_mask"] == 0, -100)}


def test_the_zero_changes_no_bit_of_the_loss(monkeypatch):
    model, inputs = tiny.model().train(), text_batch()
    with_zero = model(**inputs).loss
    monkeypatch.setattr(type(model.model), "_takes_part", lambda self: False)
    assert torch.equal(with_zero, model(**inputs).loss)


def test_the_same_weights_get_gradients_with_and_without_pixels():
    seen = tiny.batch(tiny.ask(tiny.clip(5)), tiny.ask(tiny.picture(2)))
    hidden = (seen["input_ids"] == tiny.VIDEO_ID) | (seen["attention_mask"] == 0)
    seen = {**seen, "labels": seen["input_ids"].masked_fill(hidden, -100)}
    reached = []
    for inputs in (seen, text_batch()):
        model = tiny.model(choice="softmax").train()
        model.model.vision_tower.requires_grad_(False)
        model(**inputs).loss.backward()
        reached.append({name for name, weight in model.named_parameters() if weight.grad is not None})
    assert reached[0] == reached[1]
    assert all(
        not weight.grad.any()
        for name, weight in model.named_parameters()
        if weight.grad is not None and "language_model" not in name and "lm_head" not in name
    )


def test_text_alone_runs_no_tower_at_inference(monkeypatch):
    model = tiny.model().eval()
    monkeypatch.setattr(type(model.model), "zero_of_everything", None)
    assert model(**text_batch()).loss.isfinite()


def test_a_stage_that_freezes_the_text_can_take_a_batch_of_text():
    model = tiny.model().train()
    model.requires_grad_(False)
    model.model.multi_modal_projector.requires_grad_(True)
    model(**text_batch()).loss.backward()
    assert all(not weight.grad.any() for weight in model.model.multi_modal_projector.parameters())
