"""A model folder is untrusted: it runs no code, and whatever is wrong with it is one line that names it."""

import json
import os
import shutil
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from bvllm.common import trust
from bvllm.inference.answer import answer
from bvllm.inference.loading import ModelError, load_model
from bvllm.model import chat_template
from bvllm.model.folder import normaliser_growth

NANO = Path(str(files("bvllm"))) / "assets/nano"
SPY = """
open({mark!r}, "w").write("code of the folder ran")
from transformers import PreTrainedTokenizerFast
class Spy(PreTrainedTokenizerFast): pass
"""


@pytest.fixture
def folder(tmp_path):
    shutil.copytree(NANO, tmp_path / "model")
    return tmp_path / "model"


def with_code(folder, mark, owner=""):
    """Every tokenizer asks for a class that stands in the folder (or, with an owner, in a hub repository)."""
    for file in folder.rglob("tokenizer_config.json"):
        told = json.loads(file.read_text())
        told |= {"tokenizer_class": "Spy", "auto_map": {"AutoTokenizer": [None, f"{owner}spy.Spy"]}}
        file.write_text(json.dumps(told))
        (file.parent / "spy.py").write_text(SPY.format(mark=str(mark)))


LOAD_BOTH = """
import sys
from bvllm.inference.loading import ModelError, load_model
for folder in sys.argv[1:]:
    try:
        load_model(folder)
    except ModelError as error:
        print(error)
"""


def test_code_in_a_folder_never_runs_whatever_stdin_says(tmp_path):
    for name, owner in (("own", ""), ("others", "owner/repo--")):
        shutil.copytree(NANO, tmp_path / name)
        with_code(tmp_path / name, tmp_path / "ran", owner)
    command = [sys.executable, "-c", LOAD_BOTH, str(tmp_path / "own"), str(tmp_path / "others")]
    done = subprocess.run(command, input="y\n" * 50, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [("code" in line) for line in done.stdout.splitlines()] == [True, True]
    assert "[y/N]" not in done.stdout + done.stderr
    assert not (tmp_path / "ran").exists()


def test_only_the_one_setting_lets_it_run(folder, tmp_path, monkeypatch):
    with_code(folder, tmp_path / "ran")
    monkeypatch.setattr(trust, "_allowed", True)
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    load_model(str(folder))
    assert (tmp_path / "ran").exists()


def rewrite(folder, change):
    file = folder / "model.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file, metadata={"format": "pt"})


def every_other(tensors):
    for name in list(tensors)[::2]:
        del tensors[name]


def misshapen(tensors):
    tensors["model.multi_modal_projector.linear_1.bias"] = torch.zeros(3)


def not_numbers(tensors):
    tensors["lm_head.weight" if "lm_head.weight" in tensors else next(iter(tensors))].fill_(torch.nan)


@pytest.mark.parametrize(
    "change, said",
    [
        (every_other, "weights must fill the model exactly, got .* more missing"),
        (lambda t: t.update(extra=torch.zeros(1)), "got extra not of this model"),
        (misshapen, r"got model\.multi_modal_projector\.linear_1\.bias of another shape"),
        (not_numbers, "weights must be finite numbers, got NaN or infinity in "),
    ],
)
def test_weights_that_do_not_fit_are_named(folder, change, said):
    rewrite(folder, change)
    with pytest.raises(ModelError, match=said):
        load_model(str(folder))


def test_pickled_weights_are_never_read(folder):
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    os.remove(folder / "model.safetensors")
    with pytest.raises(ModelError, match=r"no file named model\.safetensors"):
        load_model(str(folder))


@pytest.mark.parametrize(
    "name",
    [
        "config.json",
        "generation_config.json",
        "tokenizer_config.json",
        "tokenizer.json",
        "processor_config.json",
    ],
)
@pytest.mark.parametrize("text", ["[1", "[]", "\xff", "[" * 100_000])
def test_a_broken_file_is_named(folder, name, text):
    (folder / name).write_text(text, encoding="latin-1")
    with pytest.raises(ModelError, match=name) as caught:
        load_model(str(folder))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("field, value", [("tau", "hot"), ("num_selected_frames", [1]), ("vision_config", 7)])
def test_a_wrong_type_in_the_configuration_names_file_and_field(folder, field, value):
    told = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(told | {field: value}))
    with pytest.raises(ModelError, match=r"config\.json"):
        load_model(str(folder))


ENDLESS = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}" * 2


@pytest.mark.parametrize(
    "template, said",
    [
        (ENDLESS, "must render within"),
        ("{{ raise_exception('no') }}", "must render, got 'no'"),
        ("{{ 1 // 0 }}", "must render, got 'integer division"),
        ("{{ messages[0].role.a.b }}", "must render, got"),
        ("{% for", "must render, got"),
    ],
)
def test_a_chat_template_that_fails_or_never_ends_is_one_line(folder, template, said, video, monkeypatch):
    from bvllm.inference.encode import encode_video

    monkeypatch.setattr(chat_template, "MOST_SECONDS", 0.5)
    (folder / "chat_template.jinja").write_text(template)
    loaded = load_model(str(folder))
    with pytest.raises(ModelError, match=said) as caught:
        answer(encode_video(video, loaded), "what?", loaded)
    assert "\n" not in str(caught.value)


def test_the_time_limit_leaves_a_fast_template_alone():
    for _ in range(200):
        assert chat_template.render_chats([[{"role": "user", "content": "x"}]], "{{ messages[0].content }}")[
            0
        ]


def test_features_that_are_no_numbers_name_the_model(folder, video):
    from bvllm.inference.encode import encode_video

    loaded = load_model(str(folder), fast=False)
    loaded.model.model.vision_tower.embeddings.class_embedding.data.fill_(torch.inf)
    with pytest.raises(
        ModelError, match="must give finite numbers, got NaN or infinity in features of frames"
    ):
        encode_video(video, loaded)


def test_logits_that_are_no_numbers_name_the_model(folder, video):
    from bvllm.inference.encode import encode_video

    loaded = load_model(str(folder))
    encoded = encode_video(video, loaded)
    loaded.model.lm_head.weight.data.fill_(torch.nan)
    with pytest.raises(ModelError, match="must give finite numbers"):
        answer(encoded, "what?", loaded)


def test_a_normaliser_that_grows_without_bound_is_refused(folder):
    grow = {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 100}
    file = folder / "tokenizer.json"
    told = json.loads(file.read_text())
    file.write_text(json.dumps(told | {"normalizer": {"type": "Sequence", "normalizers": [grow] * 8}}))
    with pytest.raises(
        ModelError, match=r"tokenizer.json must have a normalizer that grows a text at most 1000"
    ):
        load_model(str(folder))
    assert normaliser_growth(told["normalizer"]) < 10
