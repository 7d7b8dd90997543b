"""House rules that a machine can check."""

import ast
import re
import subprocess
import tomllib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

import bvllm

REPO = Path(__file__).parents[1]
SOURCES = sorted((REPO / "src").rglob("*.py"))
# Far above what is usual (300 and 60): these ring where a file or a function has outgrown its idea.
MOST_LINES = 450
MOST_FUNCTION_LINES = 80
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
UNSAFE_CALLS = {"torch.load", "eval", "exec", "numpy.load", "np.load"}


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def name(path: Path) -> str:
    return str(path.relative_to(REPO))


def offenders(rule: Callable[[Path], Iterable[str]]) -> str:
    """Every breach of a rule in the package, one a line; empty where there is none."""
    return "\n".join(f"{name(path)}{breach}" for path in SOURCES for breach in rule(path))


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
    """Lines that catch everything, with no comment before what they do about it."""
    lines = source.splitlines()
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ExceptHandler):
            bare = node.type is None
            broad = node.type is not None and dotted(node.type) in {"Exception", "BaseException"}
            reason = "#" in "".join(lines[node.lineno - 1 : node.body[0].lineno])
            if bare or (broad and not reason):
                found.append(node.lineno)
    return found


def too_long(path: Path) -> Iterator[str]:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    if lines > MOST_LINES:
        yield f": {lines} lines, at most {MOST_LINES}: split it by idea"


def long_functions(path: Path) -> Iterator[str]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or 0) - node.lineno + 1
            if lines > MOST_FUNCTION_LINES:
                yield f":{node.lineno} {node.name} has {lines} lines, at most {MOST_FUNCTION_LINES}"


def prints(path: Path) -> Iterator[str]:
    if "cli" not in path.parts and "print" in calls(path):
        yield f":{calls(path)['print']} prints: return it, or log it"


def unusual_headings(path: Path) -> Iterator[str]:
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if re.match(r"\s*(Errors|Throws|Exceptions):", line):
            yield f":{number} heads a list of errors otherwise than the usual tools read: write Raises:"


def unexplained_handlers(path: Path) -> Iterator[str]:
    for line in broad_handlers(path.read_text(encoding="utf-8")):
        yield f":{line} catches everything: name the errors, or say why in a comment"


def connections(path: Path) -> Iterator[str]:
    for module in sorted(imported(path) & HTTP_CLIENTS):
        yield f" imports {module}: bvllm reads local files and bytes"


def code_runners(path: Path) -> Iterator[str]:
    for module in sorted(imported(path) & UNSAFE_LOADERS):
        yield f" imports {module}: safetensors and JSON carry everything"
    for call in sorted(UNSAFE_CALLS & calls(path).keys()):
        yield f":{calls(path)[call]} calls {call}"


def unexplained_modules(path: Path) -> Iterator[str]:
    module = tree(path)
    if module.body and not ast.get_docstring(module):
        yield " must begin with a docstring"


RULES = [
    too_long,
    long_functions,
    prints,
    unusual_headings,
    unexplained_handlers,
    connections,
    code_runners,
    unexplained_modules,
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_package_keeps_the_rule(rule):
    assert SOURCES
    assert not offenders(rule), "\n" + offenders(rule)


BREACHES = {
    too_long: "x = 1\n" * (MOST_LINES + 1),
    long_functions: "def f():\n" + "    x = 1\n" * MOST_FUNCTION_LINES,
    prints: "print(1)\n",
    unusual_headings: 'def f():\n    """Do.\n\n    Errors:\n        ValueError\n    """\n',
    unexplained_handlers: "try:\n    f()\nexcept Exception:\n    g()\n",
    connections: "from urllib.request import urlopen\n",
    code_runners: "import torch\ntorch.load('x')\n",
    unexplained_modules: "x = 1\n",
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_each_rule_sees_its_breach(rule, tmp_path):
    (tmp_path / "good.py").write_text('"""A page of nothing."""\n\n\ndef f() -> int:\n    return 1\n')
    (tmp_path / "bad.py").write_text(BREACHES[rule])
    assert list(rule(tmp_path / "bad.py"))
    assert not list(rule(tmp_path / "good.py"))


def test_no_tracked_file_names_a_machine():
    wrong = []
    for path in tracked_files():
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
            if MACHINE_PATHS.search(line) or REGISTRY_HOSTS.search(line):
                wrong.append(f"{name(path)}:{number}: {line.strip()[:80]}")
    assert not wrong, "these lines mean nothing on another machine:\n" + "\n".join(wrong)


def test_the_version_is_said_once_and_the_same():
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


def untrusting_loads(path: Path) -> Iterator[str]:
    """Loads of files from a model folder that leave the decision about its code to transformers."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call) and dotted(node.func).endswith(
            (".from_pretrained", ".get_config_dict")
        ):
            given = [
                dotted(word.value.func)
                for word in node.keywords
                if word.arg is None and isinstance(word.value, ast.Call)
            ]
            passed_on = any(word.arg is None and isinstance(word.value, ast.Name) for word in node.keywords)
            if not passed_on and not {"loading", "loading_weights"} & set(given):
                yield f":{node.lineno} must pass **loading() or **loading_weights()"


def test_every_load_says_whether_a_folder_may_run_code():
    assert not offenders(untrusting_loads)


def test_one_option_alone_allows_remote_code():
    users = [name(path) for path in SOURCES if "allow_remote_code()" in path.read_text(encoding="utf-8")]
    assert users == ["src/bvllm/cli/options.py", "src/bvllm/common/trust.py"]  # used, and defined
