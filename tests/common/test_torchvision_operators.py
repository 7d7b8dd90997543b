"""What a torchvision that was built for another torch lacks: declared, so that its transforms can be used."""

import subprocess
import sys

import pytest

import bvllm
from bvllm.cli import main
from bvllm.common import torchvision_operators
from bvllm.common.torchvision_operators import declare_missing_operators
from tests.torchvision_apart import FOLDER

APART = """
import sys
sys.path.insert(0, {folder!r})
sys.modules.pop("torchvision", None)
try:
    import torchvision
except RuntimeError as error:
    print("without:", error)
for name in [name for name in sys.modules if name.startswith("torchvision")]:
    del sys.modules[name]
from bvllm.common.torchvision_operators import declare_missing_operators
print(declare_missing_operators(), declare_missing_operators())
import torch, torchvision
from torchvision.transforms.v2 import functional
print(functional.resize(torch.zeros(3, 8, 8, dtype=torch.uint8), [4, 4]).shape)
try:
    torchvision.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
except RuntimeError as error:
    print("nms:", error)
"""


@pytest.mark.skipif(not FOLDER.is_dir(), reason="`make install` brings the torchvision for CUDA")
def test_transforms_work_and_an_operator_says_that_it_is_missing():
    """In a process of its own: the tests' has declared the operators already."""
    done = subprocess.run(
        [sys.executable, "-c", APART.format(folder=str(FOLDER))], capture_output=True, text=True, check=True
    )
    without, declared, resized, nms = done.stdout.strip().splitlines()
    assert without == "without: operator torchvision::nms does not exist"
    assert declared == "True False"
    assert resized == "torch.Size([3, 4, 4])"
    assert nms.startswith("nms: Couldn't load custom C++ ops")


@pytest.mark.parametrize(
    "torchvision, cuda",
    [("0.28.0+cpu", None), ("0.28.0", None), ("0.28.0+cu130", "13.0"), (None, None)],
    ids=["both for the CPU", "no label", "both for CUDA", "no torchvision"],
)
def test_a_pair_that_fits_is_left_alone(tmp_path, monkeypatch, torchvision, cuda):
    folders = {"torch": tmp_path / "torch", "torchvision": tmp_path / "torchvision"}
    for folder in folders.values():
        folder.mkdir()
    (folders["torch"] / "version.py").write_text(f"cuda = {cuda!r}\n")
    if torchvision is None:
        folders["torchvision"] = None
    else:
        (folders["torchvision"] / "version.py").write_text(f"__version__ = {torchvision!r}\n")
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    monkeypatch.setattr(torchvision_operators, "_folder", folders.__getitem__)
    monkeypatch.setattr("torch.ops.load_library", None)  # would fail
    assert not declare_missing_operators()


def test_a_compiled_part_that_loads_is_enough(tmp_path, monkeypatch):
    for name, text in (("torch", "cuda = None\n"), ("torchvision", "__version__ = '0.28.0+cu130'\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "version.py").write_text(text)
    loaded = []
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    monkeypatch.setattr(torchvision_operators, "_folder", lambda package: tmp_path / package)
    monkeypatch.setattr("torch.ops.load_library", loaded.append)
    assert not declare_missing_operators()
    assert loaded == [str(tmp_path / "torchvision" / "_C.so")]


def test_commands_and_public_names_declare_before_they_load(monkeypatch, capsys):
    declared = []
    monkeypatch.setattr("bvllm.cli.declare_missing_operators", lambda: declared.append("command"))
    monkeypatch.setattr(torchvision_operators, "declare_missing_operators", lambda: declared.append("name"))
    monkeypatch.delitem(bvllm.__dict__, "Budget", raising=False)
    assert main(["--version"]) == 0
    assert bvllm.Budget(tokens=3).tokens == 3
    assert declared == ["command", "name"]
    assert capsys.readouterr().out.startswith("bvllm ")
