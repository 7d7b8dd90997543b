"""The paper's recipe on parts from a disk: bfloat16, activation checkpointing, evaluation, patience."""

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast, Qwen2ForCausalLM

from bvllm.model import BVLLMForConditionalGeneration, BVLLMProcessor
from bvllm.model.processing_bvllm import TURN_END
from bvllm.training.build import build, end_turns, read_tokenizer
from bvllm.training.callbacks import read_losses
from bvllm.training.run import train
from bvllm.training.settings import RECIPES, StageSettings, override
from bvllm.training.trainable import merge_adapters, part_of, prepare
from bvllm.training.trainer import StageTrainer
from tests.model import tiny
from tests.model.test_assemble import instructblip
from tests.training.rows import open_drawn


@pytest.fixture(scope="module")
def words(tmp_path_factory, rows_file):
    """The parts of the paper's model, small, as folders."""
    folder = tmp_path_factory.mktemp("parts")
    torch.manual_seed(5)
    instructblip().save_pretrained(folder / "instructblip")
    tiny.tokenizer().save_pretrained(folder / "instructblip/qformer_tokenizer")
    Qwen2ForCausalLM(tiny.text_config()).save_pretrained(folder / "language")
    tiny.tokenizer().save_pretrained(folder / "language")
    return [
        f"model.vision={folder / 'instructblip'}", f"model.qformer={folder / 'instructblip'}",
        f"model.language_model={folder / 'language'}", "model.num_selected_frames=4",
        "model.tokens_per_frame=4", "model.budget_tokens=10", "alignment.batch=4", "instruction.batch=4",
        "run.per_device=2", "run.cpu=true", "instruction.lora_rank=4", "instruction.lora_alpha=8",
        *(f"data.{name}={rows_file}" for name in ("pretrain", "finetune", "evaluate")),
    ]  # fmt: skip


def test_the_papers_recipe_runs_and_keeps_its_best(words, tmp_path, monkeypatch):
    real, losses = StageTrainer.evaluation_loop, iter((7.0, 6.0, 4.0, 2.0, 3.0, 5.0, 1.0))

    def evaluation_loop(*args, **kwargs):  # the second of instruction tuning is its best
        found = real(*args, **kwargs)
        found.metrics["eval_loss"] = next(losses)
        return found

    monkeypatch.setattr(StageTrainer, "evaluation_loop", evaluation_loop)
    told = "alignment.max_steps=2 instruction.max_steps=9 instruction.patience=2"
    every = "run.save_every=1 run.evaluate_every=1 instruction.warmup=0.3 run.print_every=1"
    settings = override(RECIPES["paper_7b"](), [*words, *told.split(), *every.split()])
    said, out = [], tmp_path / "run"
    train(settings, out, log=said.append, open_rows=open_drawn)
    record = read_losses(out / "instruction/losses.jsonl")
    seen = [entry["eval_loss"] for entry in record if "eval_loss" in entry]
    assert seen == [4.0, 2.0, 3.0, 5.0]
    best = 2
    kept = load_file(out / f"instruction/checkpoint-{best}/weights.safetensors")
    result = load_file(out / "instruction/result/weights.safetensors")
    assert all(torch.equal(kept[name], weight) for name, weight in result.items())
    assert any("evaluation loss" in line for line in said)
    model = BVLLMForConditionalGeneration.from_pretrained(out / "model")
    assert model.dtype == torch.bfloat16
    assert BVLLMProcessor.from_pretrained(out / "model").placeholders == model.config.placeholders
    # What was released is frozen and must come out as it went in.
    first = dict(build(settings).model.named_parameters())
    for name, weight in model.named_parameters():
        if part_of(name) is None or "embed_tokens" in name:
            assert torch.equal(weight, first[name].to(torch.bfloat16)), name


def test_weights_that_learn_are_float32_and_the_tower_has_no_graph(words):
    settings = override(RECIPES["paper_7b"](), words)
    for stage in (settings.alignment, settings.instruction):
        model = build(settings).model
        prepare(model, stage, seed=0)
        for name, weight in model.named_parameters():
            assert weight.dtype == (torch.float32 if weight.requires_grad else torch.bfloat16), name
            assert not (weight.requires_grad and "vision_tower" in name)
        model.train()
        model.activation_checkpointing_enable()
        model.enable_input_require_grads()
        assert model.model.encode_patches(torch.zeros(2, 3, 16, 16)).grad_fn is None


def test_adapters_sit_in_the_decoder_only_and_merge_away(words):
    settings = override(RECIPES["paper_7b"](), words)
    model = build(settings).model.float()
    inputs = tiny.batch(tiny.ask(tiny.clip(3)))
    stage: StageSettings = settings.instruction
    plain = model.eval()(**inputs).logits
    prepare(model, stage, seed=3)
    model.eval()  # new layers have a dropout that trains
    adapted = {name for name, _ in model.named_parameters() if "lora_" in name}
    assert len(adapted) == 2 * 2 * 7  # A and B on seven layers of two blocks
    assert all(name.startswith("model.language_model.layers.") for name in adapted)
    assert torch.equal(model(**inputs).logits, plain), "adapters begin as nothing"
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    moved = model(**inputs).logits
    assert not torch.allclose(moved, plain)
    merge_adapters(model)
    assert not any("lora_" in name or "base_layer" in name for name, _ in model.named_parameters())
    torch.testing.assert_close(model(**inputs).logits, moved, rtol=1e-4, atol=1e-4)


def test_parts_have_rates_of_their_own(words, tmp_path, monkeypatch):
    from bvllm.training import trainer

    seen = []

    def spy(model, stage, decayed, real=trainer.groups):
        made = real(model, stage, decayed)
        seen.append([dict(group) for group in made])
        return made

    monkeypatch.setattr(trainer, "groups", spy)
    own = "alignment.rates.multi_modal_projector=2e-5 alignment.weight_decay=0.1 alignment.max_steps=1"
    settings = override(
        RECIPES["paper_7b"](), [*words, *own.split(), "instruction.max_steps=1", "data.evaluate="]
    )
    train(settings, tmp_path / "run", log=lambda line: None, open_rows=open_drawn)
    assert {group["lr"] for group in seen[0]} == {1e-3, 2e-5}
    assert {group["weight_decay"] for group in seen[0]} == {0.0, 0.1}


def test_answers_end_where_the_template_ends_a_turn():
    """A base decoder ends texts with another token than ChatML's."""
    model, knows = tiny.model(), tiny.tokenizer()
    end = knows.convert_tokens_to_ids(TURN_END)
    other = end + 1
    for before, after in ((end, end), (other, [other, end]), ([other, end], [other, end]), (None, [end])):
        model.generation_config.eos_token_id = before
        end_turns(model, knows)
        assert model.generation_config.eos_token_id == after
    model.generation_config.eos_token_id = other
    end_turns(model, PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel({"a": 0}))))
    assert model.generation_config.eos_token_id == other  # this one does not know the token


@pytest.mark.parametrize(
    "name, text",
    [
        ("tokenizer.json", "{}"), ("tokenizer.json", '{"model": 1}'),
        ("tokenizer_config.json", '{"pad_token": true, "tokenizer_class": "PreTrainedTokenizerFast"}'),
        ("tokenizer_config.json", '{"tokenizer_class": true}'),
    ],
)  # fmt: skip
def test_a_broken_tokenizer_names_its_folder(name, text, tmp_path):
    tiny.tokenizer().save_pretrained(tmp_path)
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=f"tokenizer must be one that can be read, .*{tmp_path}"):
        read_tokenizer(str(tmp_path))
