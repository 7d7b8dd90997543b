"""Imports flow one way: a room may know the rooms below it, never one above or beside it."""

import ast
import sys
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
    {"app", "presets", "hf"},
    {"cli", "server"},
    {"__main__"},
]
# Rooms side by side that may look at each other, in this direction only.
BESIDE = {("app", "presets")}
LEVEL = {room: level for level, layer in enumerate(LAYERS) for room in layer}
# What the lowest rooms may import from outside, beside the standard library.
OUTSIDE = {
    "common": {"torch"},
    "primitives": {"torch"},
    "types": {"torch"},
    "stages": {"torch", "transformers"},
    "methods": {"torch"},
    "video": {"torch", "av", "numpy", "PIL"},
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
        ("app", "model", True),
        ("app", "video", True),
        ("data", "model", True),
        ("model", "data", False),
        ("primitives", "common", True),
        ("common", "primitives", False),
        ("stages", "types", True),
        ("types", "stages", False),
        ("video", "methods", False),
        ("cli", "server", False),
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
