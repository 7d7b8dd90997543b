"""What learns, what stays frozen, and what adapters save."""

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model

from tests.model import tiny

LORA = LoraConfig(
    r=4,
    target_modules=r"model\.language_model\.layers\.\d+\.self_attn\.(q|k|v|o)_proj",
    modules_to_save=["frame_selector", "token_sampler", "multi_modal_projector", "clock"],
    init_lora_weights=False,
)
LEARNED = ("frame_selector", "token_sampler", "multi_modal_projector", "clock", "language_model")


def training_batch():
    inputs = tiny.batch(*tiny.mixed_chats())
    ids = inputs["input_ids"]
    hidden = (ids == tiny.VIDEO_ID) | (inputs["attention_mask"] == 0)
    return {**inputs, "labels": ids.masked_fill(hidden, -100)}


def has_gradient(module):
    return any(p.grad is not None and p.grad.abs().sum() > 0 for p in module.parameters())


@pytest.mark.parametrize("choice", ["gumbel", "softmax"])
def test_the_answer_teaches_every_learned_part(choice):
    model = tiny.model(choice=choice, tau=2.0).train()
    model.model.vision_tower.requires_grad_(False)
    model(**training_batch()).loss.backward()
    for name in LEARNED:
        assert has_gradient(getattr(model.model, name)), name
    for reader in (model.model.frame_selector.reader, model.model.token_sampler.reader):
        assert has_gradient(reader.queries)
    assert not has_gradient(model.model.vision_tower)


def test_a_reader_of_frames_learns_through_the_selector():
    model = tiny.model(frame_feature="qformer", tau=2.0).train()
    model.model.vision_tower.requires_grad_(False)
    model(**training_batch()).loss.backward()
    assert has_gradient(model.model.frame_reader)


def test_a_frozen_tower_builds_no_graph():
    model = tiny.model().train()
    pixels = torch.randn(3, 3, 16, 16)
    assert model.model.encode_frames(pixels).requires_grad
    assert model.model.encode_patches(pixels).requires_grad
    model.model.vision_tower.requires_grad_(False)
    model.train()
    assert not model.model.vision_tower.training
    assert model.model.token_sampler.training
    for checkpointed in (False, True):
        if checkpointed:
            model.gradient_checkpointing_enable({"use_reentrant": False})
            model.enable_input_require_grads()
        assert model.model.encode_frames(pixels).grad_fn is None
        assert model.model.encode_patches(pixels).grad_fn is None


def test_input_gradients_start_at_the_text_only():
    model = tiny.model().train()
    model.requires_grad_(False)
    model.enable_input_require_grads()
    assert model.get_input_embeddings()(torch.tensor([[3]])).requires_grad
    patches = model.model.vision_tower.embeddings.patch_embedding
    assert not patches(torch.zeros(1, 3, 16, 16)).requires_grad
    model.disable_input_require_grads()
    assert not model.get_input_embeddings()(torch.tensor([[3]])).requires_grad


def test_gradient_checkpointing_changes_no_gradient():
    def gradients(checkpointing):
        model = tiny.model(choice="softmax").train()
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        model.model.vision_tower.requires_grad_(False)
        if checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        model(**training_batch()).loss.backward()
        return {n: p.grad for n, p in model.named_parameters() if p.grad is not None}

    plain, checkpointed = gradients(False), gradients(True)
    assert plain.keys() == checkpointed.keys()
    for name, gradient in plain.items():
        torch.testing.assert_close(checkpointed[name], gradient, rtol=1e-4, atol=1e-5, msg=name)


def test_the_loss_is_divided_by_the_tokens_of_the_whole_step():
    model, inputs = tiny.model(), training_batch()
    tokens = int((inputs["labels"][:, 1:] != -100).sum())
    mean = model(**inputs).loss
    assert model(**inputs, num_items_in_batch=2 * tokens).loss.item() == pytest.approx(
        mean.item() / 2, rel=1e-5
    )


def test_an_adapter_saves_everything_that_was_trained(tmp_path):
    adapted = get_peft_model(tiny.model(), LORA).train()
    trainable = {n for n, p in adapted.named_parameters() if p.requires_grad}
    for part in ("frame_selector", "token_sampler"):
        assert any(part in n and "queries.weight" in n for n in trainable)
    assert not any("vision_tower" in n for n in trainable)
    optimizer = torch.optim.AdamW([p for p in adapted.parameters() if p.requires_grad], lr=0.05)
    adapted(**training_batch()).loss.backward()
    optimizer.step()
    adapted.eval().save_pretrained(tmp_path)
    before, inputs = tiny.model()(**training_batch()).logits, training_batch()
    after = adapted(**inputs).logits
    assert not torch.allclose(before, after), "the step must change something"
    again = PeftModel.from_pretrained(tiny.model(), tmp_path).eval()
    assert torch.equal(again(**inputs).logits, after)
    merged = again.merge_and_unload().eval()
    torch.testing.assert_close(merged(**inputs).logits, after, rtol=1e-4, atol=1e-4)


def test_trainer_trains_and_evaluates(tmp_path):
    from transformers import Trainer, TrainingArguments

    model = tiny.model()
    model.model.vision_tower.requires_grad_(False)
    arguments = TrainingArguments(
        tmp_path, max_steps=2, per_device_train_batch_size=1, remove_unused_columns=False, report_to=[],
        use_cpu=True, gradient_checkpointing=True, save_strategy="no", label_smoothing_factor=0.1,
    )  # fmt: skip
    trainer = Trainer(
        model,
        arguments,
        data_collator=lambda rows: rows[0],
        train_dataset=[training_batch()] * 2,
        eval_dataset=[training_batch()],
        compute_metrics=lambda scores: {"shape": scores.predictions.shape[1]},
    )
    before = model.model.multi_modal_projector.linear_1.weight.clone()
    trainer.train()
    assert not torch.equal(model.model.multi_modal_projector.linear_1.weight, before)
    assert trainer.evaluate()["eval_shape"] == training_batch()["labels"].shape[1]
