"""House rules that a machine can check."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

REPO = Path(__file__).parents[1]
SOURCES = sorted((REPO / "src").rglob("*.py"))
MOST_LINES = 300
MOST_FUNCTION_LINES = 60
# Built from pieces, so that this file does not trip over itself.
MACHINE_PATHS = re.compile(
    "|".join("(?<![\\w.])/" + word for word in ("work/", "root/", "farm/", "home/", "Users/"))
)
REGISTRY_HOSTS = re.compile(
    "|".join((r"pypi\.o" + "rg", "pythonhosted" + r"\.org", "download\\.pytorch" + r"\.org"))
)
HTTP_CLIENTS = {
    "requests",
    "httpx",
    "aiohttp",
    "urllib3",
    "urllib.request",
    "http.client",
    "ftplib",
    "websockets",
}
UNSAFE_LOADERS = {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal", "joblib"}


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def name(path: Path) -> str:
    return str(path.relative_to(REPO))


each_source = pytest.mark.parametrize("path", SOURCES, ids=name)


def tracked_files() -> list[Path]:
    """The text files that git tracks; in an unpacked archive, every file outside hidden folders."""
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=REPO, capture_output=True, text=True, check=False)
    if listing.returncode == 0:
        paths = [REPO / line for line in listing.stdout.split("\0") if line]
    else:
        paths = [
            p for p in REPO.rglob("*") if not any(part.startswith(".") for part in p.relative_to(REPO).parts)
        ]
    return [p for p in paths if p.is_file() and b"\0" not in p.read_bytes()[:4096]]


def dotted(node: ast.expr) -> str:
    """`torch.load` for the expression torch.load; empty for anything that is not a plain name."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def calls(path: Path) -> dict[str, int]:
    return {dotted(n.func): n.lineno for n in ast.walk(tree(path)) if isinstance(n, ast.Call)}


def imported(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found | {module.split(".")[0] for module in found}


def broad_handlers(source: str) -> list[int]:
    """Lines that catch everything without saying why, on that line or the next."""
    lines = source.splitlines()
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ExceptHandler):
            bare = node.type is None
            broad = node.type is not None and dotted(node.type) in {"Exception", "BaseException"}
            reason = "#" in "".join(lines[node.lineno - 1 : node.lineno + 1])
            if bare or (broad and not reason):
                found.append(node.lineno)
    return found


@each_source
def test_files_stay_short(path):
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= MOST_LINES, (
        f"{name(path)} must have at most {MOST_LINES} lines, got {lines}: split it by idea"
    )


@each_source
def test_functions_stay_short(path):
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or 0) - node.lineno + 1
            assert lines <= MOST_FUNCTION_LINES, f"{name(path)}:{node.lineno} {node.name} has {lines} lines"


@each_source
def test_only_the_command_line_prints(path):
    if "cli" not in path.parts:
        assert "print" not in calls(path), f"{name(path)}:{calls(path).get('print')}: return it, or log it"


@each_source
def test_every_broad_except_says_why(path):
    lines = broad_handlers(path.read_text(encoding="utf-8"))
    assert not lines, (
        f"{name(path)}: lines {lines} catch everything: name the errors, or say why in a comment"
    )


@each_source
def test_the_package_opens_no_connection(path):
    found = imported(path) & HTTP_CLIENTS
    assert not found, f"{name(path)} must not import {found}: bvllm reads local files and bytes"


@each_source
def test_nothing_that_is_read_can_run_code(path):
    found = imported(path) & UNSAFE_LOADERS
    assert not found, f"{name(path)} must not import {found}: safetensors and JSON carry everything"
    for call in ("torch.load", "eval", "exec", "numpy.load", "np.load"):
        assert call not in calls(path), f"{name(path)}:{calls(path).get(call)} must not call {call}"


@each_source
def test_every_module_says_what_it_is_for(path):
    module = tree(path)
    assert not module.body or ast.get_docstring(module), f"{name(path)} must begin with a docstring"


def test_no_tracked_file_names_a_machine():
    wrong = []
    for path in tracked_files():
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
            if MACHINE_PATHS.search(line) or REGISTRY_HOSTS.search(line):
                wrong.append(f"{name(path)}:{number}: {line.strip()[:80]}")
    assert not wrong, "these lines mean nothing on another machine:\n" + "\n".join(wrong)


def test_the_version_is_said_once_and_the_same():
    import tomllib

    import bvllm

    project = tomllib.loads((REPO / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert bvllm.__version__ == project["version"]
    assert f"version: {bvllm.__version__}" in (REPO / "CITATION.cff").read_text(encoding="utf-8")
    assert f"## {bvllm.__version__}" in (REPO / "CHANGELOG.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "source, lines",
    [
        ("try:\n    f()\nexcept Exception:\n    g()\n", [3]),
        ("try:\n    f()\nexcept:  # any reason\n    g()\n", [3]),
        ("try:\n    f()\nexcept Exception:  # the decoder raises anything\n    g()\n", []),
        ("try:\n    f()\nexcept ValueError:\n    g()\n", []),
    ],
)
def test_the_rule_about_broad_handlers(source, lines):
    assert broad_handlers(source) == lines


@pytest.mark.parametrize(
    "line, caught",
    [("open('/wor" + "k/x')", True), ("cd /ro" + "ot/x", True), ("docs/work/x", False), ("~/.cache", False)],
)
def test_the_rule_about_machine_paths(line, caught):
    assert bool(MACHINE_PATHS.search(line)) is caught
