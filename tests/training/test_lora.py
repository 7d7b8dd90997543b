"""Adapters of a transformers video model, tuned under a budget from the command line."""

import json
import signal

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText

from bvllm.cli import main
from bvllm.common.stopping import Interrupted
from bvllm.inference.loading import load_model
from bvllm.training.callbacks import SharedStopRequest, read_losses
from bvllm.training.lora import train_lora
from bvllm.training.settings import lora, override
from bvllm.training.wrapped_rows import open_budgeted
from tests.model.backbones.tiny_families import save, save_clip

SAID = {"which colour is the star": "red", "where does it move": "blue green"}


@pytest.fixture(scope="module")
def folders(tmp_path_factory, video):
    home = tmp_path_factory.mktemp("tuned")
    rows = [
        {
            "conversations": [
                {"from": "human", "value": f"<video>\n{question}"},
                {"from": "gpt", "value": answer},
            ],
            "video": str(video),
        }
        for question, answer in SAID.items()
    ]
    (home / "rows.json").write_text(json.dumps(rows))
    return (
        home,
        {kind: str(save(kind, home)) for kind in ("llava_onevision", "smolvlm")},
        str(save_clip(home)),
    )


def words(home, steps):
    """Settings of a short run."""
    return (
        f"data.finetune={home / 'rows.json'} data.root=/ data.on_error=raise data.fps=0.5 "
        f"instruction.batch=2 instruction.lr=2e-2 instruction.max_steps={steps} instruction.warmup=0 "
        "instruction.lora_rank=8 run.per_device=2 run.precision=fp32 run.checkpointing=false "
        "run.save_every=2 run.cpu=true"
    ).split()


@pytest.mark.parametrize("kind", ["llava_onevision", "smolvlm"])
def test_the_loss_falls_and_the_merged_model_is_the_adapted_one(kind, folders, tmp_path, capsys):
    home, models, clip = folders
    out = tmp_path / "run"
    chooses = ["--model", models[kind], "--scorer", clip, "--budget", "12", "--frames", "4"]
    assert main(["train", "lora", *chooses, *words(home, 12), "--out", str(out)]) == 0
    losses = [float(str(entry["loss"])) for entry in read_losses(out / "instruction" / "losses.jsonl")]
    assert losses[-1] < 0.5 * losses[0]
    base = AutoModelForImageTextToText.from_pretrained(models[kind]).eval()
    adapted = PeftModel.from_pretrained(base, str(out / "adapter")).eval()
    merged = load_model(str(out / "model"), scorer=clip)
    settings = override(lora(), [f"model.name={models[kind]}", "model.budget_tokens=12", *words(home, 12)])
    corpus = open_budgeted(settings, merged, tmp_path)
    given = corpus.collate([corpus.train[k] for k in range(2)])
    assert (given["labels"] != -100).sum() == sum(len(a.split()) + 1 for a in SAID.values()), "replies, ends"
    with torch.no_grad():
        torch.testing.assert_close(
            merged.model(**given).logits, adapted(**given).logits, atol=1e-4, rtol=1e-4
        )
    capsys.readouterr()
    assert main(["train", "lora", *chooses, *words(home, 12), "--out", str(out), "--resume"]) == 0
    assert "nothing left to do" in capsys.readouterr().out


def test_a_run_that_was_stopped_ends_as_one_that_was_not(folders, tmp_path):
    home, models, _ = folders
    given = [f"model.name={models['llava_onevision']}", "model.pipeline=uniform", "model.budget_tokens=12"]
    settings = override(lora(), [*given, "data.random_budget=4", *words(home, 4)])
    whole, said = tmp_path / "whole", []
    train_lora(settings, whole, log=said.append)
    stopped = tmp_path / "stopped"
    stop = SharedStopRequest()

    def stop_at_the_second(line: str) -> None:
        if " 2/4 " in line:
            stop.signal = signal.SIGINT

    with pytest.raises(Interrupted, match="go on with --resume"):
        train_lora(override(settings, ["run.print_every=1"]), stopped, log=stop_at_the_second, stop=stop)
    train_lora(override(settings, ["run.print_every=1"]), stopped, resume=True, log=said.append)
    ends = [load_file(out / "adapter" / "adapter_model.safetensors") for out in (whole, stopped)]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_what_is_wrong_is_one_line(folders, tmp_path, capsys):
    home, models, clip = folders

    def line(*words: str) -> str:
        assert main(["train", "lora", *words, "--out", str(tmp_path / "no")]) != 0
        said = capsys.readouterr().err.strip().splitlines()
        assert len([x for x in said if x.startswith("error: ")]) == 1, said
        return said[-1]

    rows, model = f"data.finetune={home / 'rows.json'}", ["--model", models["llava_onevision"]]
    assert "model.name must be a folder or hub id" in line(rows)
    assert "data.finetune must name a file of rows" in line(*model)
    assert "scorer must be named" in line(*model, rows)
    assert "must be a transformers video model, got 'nano'" in line("--model", "nano", rows)
    assert "instruction must train adapters" in line(*model, rows, "instruction.lora_rank=0")
    assert "data.workers must be 0" in line(*model, rows, "data.workers=2")
    assert "did you mean 'instruction.lr'" in line(*model, rows, "instruction.lrr=1")
    assert not (tmp_path / "no").exists()
    assert main(["train", "lora", *model, "--scorer", clip, rows, "--dry-run"]) == 0
    assert "learns" in capsys.readouterr().out
