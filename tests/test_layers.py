"""Imports flow one way: a room may know the rooms below it, never one above or beside it."""

import ast
import importlib
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import bvllm

ROOT = Path(bvllm.__file__).parent

# What each room may import, written as the layers are drawn in docs/architecture.md.
LAYERS = [
    {"common"},
    {"primitives"},
    {"types", "video"},
    {"stages"},
    {"methods"},
    {"model"},
    {"data", "inference"},
    {"synthetic", "training", "evaluation", "index"},
    {"asking", "synthesis", "nano"},
    {"batch", "server", "proxy"},
    {"app", "presets"},
    {"cli", "hf"},
    {"__main__"},
]
# Rooms side by side that may look at each other, in this direction only: the tiny preset is trained with the
# tokenizer of the synthetic world's words.
BESIDE = {("training", "synthetic")}
LEVEL = {room: level for level, layer in enumerate(LAYERS) for room in layer}
# What the lowest rooms may import from outside, beside the standard library.
OUTSIDE = {
    "common": {"torch"},
    "primitives": {"torch"},
    "types": {"torch"},
    "stages": {"torch", "transformers"},
    "methods": {"torch"},
    "video": {"torch", "av", "numpy", "PIL", "pydantic"},
}
STANDARD = sys.stdlib_module_names


def room_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(path: Path) -> list[str]:
    """Every module that a file imports, as an absolute dotted name."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = absolute(path, node)
            # `from bvllm import app` names the room only in the alias.
            found += [f"bvllm.{name.name}" for name in node.names] if base == "bvllm" else [base]
    return found


def absolute(path: Path, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    package = ("bvllm", *path.relative_to(ROOT).parts[:-1])
    return ".".join([*package[: len(package) - node.level + 1], *([node.module] if node.module else [])])


def target(module: str) -> str | None:
    """The room that a module stands in, if it is one of ours."""
    parts = module.split(".")
    return parts[1] if parts[0] == "bvllm" and len(parts) > 1 and parts[1] in LEVEL else None


def may_import(here: str, there: str) -> bool:
    return here == there or (here, there) in BESIDE or LEVEL[there] < LEVEL[here]


FILES = sorted(path for path in ROOT.rglob("*.py") if room_of(path) != "__init__")


def test_no_file_imports_from_a_room_above_or_beside_it():
    strangers = {room_of(path) for path in FILES} - LEVEL.keys()
    assert not strangers, f"rooms must be drawn in docs/architecture.md and here, got {sorted(strangers)}"
    wrong = [
        f"{path.relative_to(ROOT)} imports {module}"
        for path in FILES
        for module in imports(path)
        if (there := target(module)) and not may_import(room_of(path), there)
    ]
    assert not wrong, "\n" + "\n".join(wrong)


def test_the_lowest_rooms_need_few_packages():
    wrong = [
        f"{path.relative_to(ROOT)} imports {package}"
        for path in FILES
        if (allowed := OUTSIDE.get(room_of(path)))
        for package in {module.split(".")[0] for module in imports(path)} - STANDARD - {"bvllm"} - allowed
    ]
    assert not wrong, "\n" + "\n".join(wrong)


def chained_models(path: Path) -> list[int]:
    """Lines that reach through one model into another: anything that ends in `.model.model`."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr == "model"
        if isinstance(node.value, ast.Attribute) and node.value.attr == "model"
    ]


def test_nobody_outside_model_reaches_through_the_interface(tmp_path):
    wrong = [
        f"{path.relative_to(ROOT)}:{line} reaches for .model.model: ask bvllm.inference.model.VideoModel"
        for path in FILES
        if room_of(path) != "model"
        for line in chained_models(path)
    ]
    assert not wrong, "\n" + "\n".join(wrong)
    (tmp_path / "bad.py").write_text("loaded.model.model.select()\nmodel.model.select()\n")
    assert chained_models(tmp_path / "bad.py") == [1]


# What alone may know our own classes in the rooms that ask models: the implementations of the interface, and
# what counts from a configuration before any model is loaded.
KNOWS_BVLLM = {
    "inference/dynamic.py",
    "inference/loading.py",
    "inference/language_side.py",
    "inference/model.py",
    "inference/planned_model.py",
}


def test_what_asks_a_model_knows_the_interface_only():
    """Index, sessions, streams, search and evidence import no class of B-VLLM's own."""
    wrong = [
        f"{path.relative_to(ROOT)} imports {module}"
        for path in FILES
        if room_of(path) in ("inference", "index", "asking")
        and path.relative_to(ROOT).as_posix() not in KNOWS_BVLLM
        for module in imports(path)
        if module.startswith("bvllm.model")
        and module not in ("bvllm.model.text_encoder", "bvllm.model.folder")
        and not module.startswith("bvllm.model.backbones")  # of other families
    ]
    assert not wrong, "\n" + "\n".join(wrong)


def test_no_room_holds_more_than_a_quarter_of_the_code():
    lines = Counter()
    for path in FILES:
        lines[room_of(path)] += len(path.read_text(encoding="utf-8").splitlines())
    total = sum(lines.values())
    large = [f"{room}: {count / total:.0%}" for room, count in lines.items() if count > total / 4]
    assert not large, (
        f"a room must hold at most a quarter of the {total} lines, got {large}: split it by subject"
    )


def test_importing_the_package_loads_no_torch_and_registers_nothing():
    code = (
        "import sys, bvllm; heavy = {'torch', 'transformers', 'av', 'numpy', 'PIL'} & set(sys.modules); "
        "assert not heavy, heavy; from bvllm import Budget, METHODS, answer, ask, encode_video, load_model; "
        "from transformers.models.auto.configuration_auto import CONFIG_MAPPING as known; "
        "assert 'bvllm' not in known; import bvllm.hf; assert 'bvllm' in known"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "older, name",
    [
        ("app.ask", "ask"),
        ("app.stream", "StreamBuffer"),
        ("app.indexed", "indexed_video"),
        ("app.evaluate", "evaluate"),
        ("presets", "nano"),
    ],
)
def test_older_homes_still_answer_and_say_where_to(older, name):
    for module in ("bvllm.app", f"bvllm.{older}"):
        sys.modules.pop(module, None)
    with pytest.warns(DeprecationWarning, match=r"has moved.* to bvllm\."):
        found = importlib.import_module(f"bvllm.{older}")
    assert getattr(found, name).__module__.startswith("bvllm.")


def test_what_stands_beside_the_package_is_never_imported_by_it():
    """The paper's tables and the speed measurements import the package; the wheel works without them."""
    beside = {"experiments", "benchmarks", "tests", "examples"}
    wrong = [
        f"{path.relative_to(ROOT)} imports {module}"
        for path in sorted(ROOT.rglob("*.py"))
        for module in imports(path)
        if module.split(".")[0] in beside
    ]
    assert not wrong, "\n" + "\n".join(wrong)


def test_the_package_itself_imports_nothing_heavy_up_front():
    """`import bvllm` is free: names are looked up when they are used."""
    tree = ast.parse((ROOT / "__init__.py").read_text(encoding="utf-8"))
    eager = {
        module.split(".")[0]
        for node in tree.body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for module in (
            [node.module or ""] if isinstance(node, ast.ImportFrom) else [n.name for n in node.names]
        )
    }
    assert not eager & {"torch", "transformers", "av"}


@pytest.mark.parametrize(
    "here, there, allowed",
    [
        ("asking", "index", True),
        ("index", "inference", True),
        ("inference", "index", False),
        ("data", "model", True),
        ("model", "data", False),
        ("data", "inference", False),
        ("training", "synthetic", True),
        ("synthetic", "training", False),
        ("primitives", "common", True),
        ("common", "primitives", False),
        ("stages", "types", True),
        ("types", "stages", False),
        ("video", "methods", False),
        ("app", "cli", False),
    ],
)
def test_the_rule_itself(here, there, allowed):
    assert may_import(here, there) is allowed


def test_relative_and_aliased_imports_are_seen(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    (tmp_path / "types").mkdir()
    file = tmp_path / "types" / "clip.py"
    file.write_text(
        "from bvllm import app\nfrom ..cli import main\nfrom . import tokens\nimport bvllm.server.run\n"
    )
    assert imports(file) == ["bvllm.app", "bvllm.cli", "bvllm.types", "bvllm.server.run"]
