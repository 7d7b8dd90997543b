"""Both stages from end to end: what moves, what stays, what comes out."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from bvllm.inference.loading import load_model
from bvllm.training.build import build
from bvllm.training.callbacks import read_losses
from bvllm.training.checkpoints import is_complete
from bvllm.training.run import train
from bvllm.training.settings import override
from bvllm.training.trainable import part_of
from tests.training.rows import open_drawn


def moved(before, after):
    """Parts of the model whose weights differ."""
    return {part_of(name) for name in before if not torch.equal(before[name], after[name])}


def test_each_stage_moves_its_parts_and_the_tower_never(whole, short):
    out, _ = whole
    first = {name: weight.detach() for name, weight in build(short).model.named_parameters()}
    aligned = load_file(out / "alignment/result/weights.safetensors")
    assert moved(first, aligned) == set(short.alignment.trains)
    last = load_file(out / "model/model.safetensors")
    assert moved(aligned, last) == set(short.instruction.trains)
    assert None not in moved(first, last)  # the tower
    places = "model.places.proj.weight"  # which learn with the projector, in both stages
    assert not torch.equal(first[places], aligned[places])
    assert not torch.equal(aligned[places], last[places])


def test_the_model_answers(whole):
    out, _ = whole
    loaded = load_model(str(out / "model"), device="cpu")
    assert loaded.frame_size == (64, 64)
    names = dict(loaded.model.named_parameters())
    assert not any("lora" in name or "base_layer" in name for name in names)


def test_every_step_is_on_record(whole):
    out, said = whole
    for stage, steps in (("alignment", 3), ("instruction", 4)):
        record = read_losses(out / stage / "losses.jsonl")
        assert [entry["step"] for entry in record] == list(range(1, steps + 1))
        assert all(entry["loss"] > 0 for entry in record)
        assert is_complete(out / stage / "result")
    assert said[0].startswith("alignment 1/3  loss ")
    assert said[-1].startswith("instruction 4/4  loss ")
    assert said[-1].endswith("0:00:00 left")


def test_accumulation_changes_no_loss(short, tmp_path):
    """Answers have different lengths, so a mean of means would differ."""
    quiet = replace(short, model=replace(short.model, choice="softmax"))
    losses = []
    for rows in (1, 4):
        out = tmp_path / str(rows)
        settings = replace(quiet, run=replace(short.run, per_device=rows, save_every=100))
        train(settings, out, log=lambda line: None, open_rows=open_drawn)
        records = [read_losses(out / stage / "losses.jsonl") for stage in ("alignment", "instruction")]
        losses.append([entry["loss"] for record in records for entry in record])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.parametrize("kind", ["llama_vid", "videollama2"])
def test_a_baseline_is_trained_with_b_vllm_whole(kind, short, tmp_path):
    steps = ["alignment.max_steps=1", "instruction.max_steps=2"]
    settings = override(short, [f"model.connector={kind}", *steps])
    first = {name: weight.detach().clone() for name, weight in build(settings).model.named_parameters()}
    train(settings, tmp_path, log=lambda line: None, open_rows=open_drawn)
    last = load_file(tmp_path / "model/model.safetensors")
    assert {"token_sampler", "multi_modal_projector", "frame_selector"} <= moved(first, last)
    loaded = load_model(str(tmp_path / "model"), device="cpu")
    assert loaded.model.config.connector.kind == kind
    assert not loaded.model.config.connector_samples
