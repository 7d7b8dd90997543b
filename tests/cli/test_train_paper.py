"""`bvllm train paper_7b` and `tiny`: words to settings, the plan, exit statuses."""

import json
import os
import shlex
import signal
import sys

import pytest

from bvllm.cli import main


@pytest.fixture
def rows(tmp_path, monkeypatch):
    """`rows.json` in the current folder."""
    monkeypatch.chdir(tmp_path)
    said = [{"from": "human", "value": "which colour?"}, {"from": "gpt", "value": "red"}]
    (tmp_path / "rows.json").write_text(json.dumps([{"id": "1", "conversations": said}]))
    return "data.pretrain=rows.json data.finetune=rows.json"


@pytest.mark.parametrize(
    "words, said",
    [
        ("", "data.pretrain must name a file of rows, got none"),
        ("data.pretrain=nowhere.json data.finetune=rows.json", "data.pretrain must name files that exist"),
        ("alignment.lrr=1", "got 'alignment.lrr': did you mean 'alignment.lr'?"),
        ("alignment.lr", "must be written name=value"),
        ("alignment.lr=fast", "alignment.lr must be of type float, got 'fast'"),
        ("instruction.schedule=cosin", "did you mean 'cosine'?"),
        ("run.checkpointing=maybe", "run.checkpointing must be true or false"),
        ("ROWS instruction.batch=130", "instruction.batch must be a multiple of run.per_device"),
        ("ROWS alignment.lr=0", "alignment.lr must be above 0"),
        ("ROWS alignment.max_steps=0", "alignment.max_steps must be at least 1"),
        ("ROWS alignment.trains=", "alignment.trains must name a part"),
        ("ROWS alignment.trains=tower", "alignment.trains must be one of"),
        ("ROWS alignment.lora_rank=4", "alignment.lora_rank must be 0"),
        ("ROWS data.pretrain_weights=1,2", "data.pretrain_weights must be 1 numbers above 0"),
        ("ROWS data.fps=0", "data.fps must be above 0"),
        ("ROWS instruction.patience=2", "instruction.patience must come with data.evaluate"),
        ("ROWS run.keep=1", "run.keep must be at least 2"),
        ("ROWS run.precision=fp16", "run.precision must be one of bf16, fp32"),
        ("ROWS model.vision=a", "model.vision, model.language_model and model.qformer must"),
    ],
)
def test_wrong_words_are_told_in_one_line(words, said, rows, capsys):
    assert main(["train", "tiny", *shlex.split(words.replace("ROWS", rows)), "--dry-run"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert err.count("\n") == 1


def test_the_plan_is_printed_and_nothing_is_made(rows, tmp_path, capsys):
    assert main(["train", "paper_7b", *rows.split(), "--dry-run", "--processes", "8"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "alignment: 202 million weights learn of 8.99 billion" in out
    assert "language_model 323 million" in out
    assert "GiB a process: weights" in out
    assert [p.name for p in tmp_path.iterdir()] == ["rows.json"]


@pytest.mark.parametrize("number, status", [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_run_that_was_stopped_says_so_and_goes_on(number, status, rows, capsys, monkeypatch):
    words = [
        "train", "tiny", *rows.split(), "alignment.max_steps=2", "instruction.max_steps=1", "--out", "run",
        "alignment.batch=1", "instruction.batch=1", "run.per_device=1", "run.save_every=1",
    ]  # fmt: skip
    said = []

    def ask_once(line):
        said.append(line)
        if len(said) == 1:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(sys.modules["bvllm.cli.train"], "_log", ask_once)
    assert main(words) == status
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: stopped in alignment, saved at step 2")
    assert "go on with --resume" in err
    assert main(words) == 2
    assert "--out must hold no run" in capsys.readouterr().err
    assert main([*words, "--resume"]) == 0
    assert capsys.readouterr().out.rstrip().endswith("run/model")
