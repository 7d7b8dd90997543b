"""Errors say what must hold, what was found, and what to change."""

import ast
import re
from pathlib import Path

import pytest

import bvllm

ROOT = Path(bvllm.__file__).parent
# <what> must <rule>, got <value>: <what to change>
HOUSE = re.compile(r"\bmust\b.+, got .+: \S", re.DOTALL)
# Errors of a caller's making. What a file or a disk does wrong has its own types, told in one line each.
CHECKED = {"ValueError", "TypeError"}


def template(node: ast.expr) -> str | None:
    """The text of a literal message, each value written {}; None where it is not a literal."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):
        return "".join(str(p.value) if isinstance(p, ast.Constant) else "{}" for p in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = template(node.left), template(node.right)
        return None if left is None and right is None else (left or "{}") + (right or "{}")
    return None


def raised_messages(source: str) -> list[tuple[int, str]]:
    """(line, message) of every `raise ValueError(...)` whose message can be read in the source."""
    found = []
    for node in ast.walk(ast.parse(source)):
        call = node.exc if isinstance(node, ast.Raise) else None
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in CHECKED:
            text = template(call.args[0]) if call.args else ""
            if text is not None:
                found.append((node.lineno, text))
    return found


def test_every_message_has_the_house_form():
    wrong = [
        f"{path.relative_to(ROOT)}:{line} says {text!r}"
        for path in sorted(ROOT.rglob("*.py"))
        for line, text in raised_messages(path.read_text(encoding="utf-8"))
        if not HOUSE.search(text)
    ]
    assert not wrong, "messages read `<what> must <rule>, got <value>: <what to change>`\n" + "\n".join(wrong)


@pytest.mark.parametrize(
    "source, good",
    [
        ('raise ValueError(f"tokens must be at least 1, got {n}: raise budget.tokens")', True),
        ('raise ValueError(f"tokens must be at least 1, " f"got {n}: " + hint)', True),
        ('raise ValueError("bad tokens")', False),
        ('raise ValueError(f"tokens must be at least 1, got {n}")', False),
        ("raise TypeError()", False),
    ],
)
def test_the_rule_itself(source, good):
    [(line, text)] = raised_messages(source)
    assert line == 1
    assert bool(HOUSE.search(text)) is good
