"""The plan says what a run does, before it does it."""

import json
from dataclasses import replace

import pytest
import torch

from bvllm.training.build import build
from bvllm.training.outline import outline
from bvllm.training.plan import plan
from bvllm.training.settings import RECIPES, override
from bvllm.training.trainable import prepare


@pytest.fixture
def rows(tmp_path):
    said = [{"from": "human", "value": "w" * 40}, {"from": "gpt", "value": "a" * 40}]
    file = tmp_path / "rows.json"
    file.write_text(json.dumps([{"id": str(k), "conversations": said} for k in range(512)]))
    return [f"data.pretrain={file}", f"data.finetune={file}"]


def test_the_papers_run(rows):
    planned = plan(override(RECIPES["paper_7b"](), rows), processes=8)
    alignment, instruction = planned.stages
    # Q-Former 186 million with its queries and projection, projector 768 -> 3584 -> 3584.
    assert dict(alignment.trained) == {"frame_selector": 186_767_488, "multi_modal_projector": 15_604_736}
    # Rank 128 on all seven linear layers of 28 blocks of Qwen2-7B.
    lora = 28 * 128 * (2 * (3584 + 3584) + 2 * (3584 + 512) + 3 * (3584 + 18944))
    assert dict(instruction.trained)["language_model"] == lora
    assert set(dict(instruction.trained)) == {
        "frame_selector", "multi_modal_projector", "token_sampler", "language_model",
    }  # fmt: skip
    assert (alignment.steps, alignment.accumulation) == (2, 8)
    assert (instruction.steps, instruction.accumulation) == (4, 4)
    assert alignment.tokens_per_row == 20
    assert instruction.tokens == 4 * 128 * 20
    text = "\n".join(planned.lines())
    assert "alignment: 202 million weights learn of 8.99 billion" in text
    assert "2 steps of 256 rows = 8 processes x 4 rows x 8" in text


def test_sharding_costs_less(rows):
    sizes = {
        how: plan(override(RECIPES["paper_7b"](), [*rows, f"run.shard={how}"]), processes=8).stages[1]
        for how in ("none", "zero2", "zero3")
    }
    assert sizes["none"].bytes > sizes["zero2"].bytes > sizes["zero3"].bytes
    assert sizes["zero2"].optimizer == sizes["zero3"].optimizer == sizes["none"].optimizer // 8


def test_weights_and_optimizer_are_counted_right(rows):
    settings = override(RECIPES["tiny"](), rows)
    for number, own in enumerate((settings.alignment, settings.instruction)):
        model = build(settings).model
        prepare(model, own, seed=0)
        learning = [p for p in model.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(learning)
        for weight in learning:
            weight.grad = torch.zeros_like(weight)
        optimizer.step()
        kept = [t for state in optimizer.state.values() for t in state.values() if t.ndim]
        planned = plan(settings).stages[number]
        assert planned.weights == sum(p.nbytes for p in model.parameters())
        assert planned.optimizer == sum(t.nbytes for t in kept) + sum(p.grad.nbytes for p in learning)


def test_another_tower_is_read_from_its_configuration(rows, tmp_path):
    from transformers import CLIPVisionConfig

    CLIPVisionConfig(
        image_size=336, patch_size=14, hidden_size=1024, num_hidden_layers=24, num_attention_heads=16
    ).save_pretrained(tmp_path / "clip")
    settings = override(RECIPES["paper_7b"](), [*rows, f"model.vision={tmp_path / 'clip'}"])
    planned = plan(settings)
    assert planned.per_minute == 60 * 576 * 1024 * 2
    assert plan(replace(settings, run=replace(settings.run, precision="fp32"))).per_minute == 60 * 576 * 4096


def test_a_batch_that_cannot_be_shared_out(rows):
    with pytest.raises(
        ValueError, match=r"alignment\.batch must be a multiple of run\.per_device x processes = 20"
    ):
        plan(override(RECIPES["paper_7b"](), rows), processes=5)


@pytest.mark.parametrize("sampled", [True, False], ids=["with ours", "alone"])
@pytest.mark.parametrize("kind", ["llama_vid", "videollama2"])
def test_a_baseline_is_planned_with_its_own_connector(kind, sampled):
    words = [f"model.connector={kind}", *([] if sampled else ["model.sample_tokens=none"])]
    config = outline(override(RECIPES["paper_7b"](), words)).config
    assert (config.connector.kind, config.connector_samples) == (kind, not sampled)
