"""Errors say what must hold, what was found, and what to change."""

import ast
import re
from pathlib import Path

import pytest
from torch import zeros

import bvllm
from bvllm.inference.model_name import resolve_model
from bvllm.primitives.choice import choose
from bvllm.stages.merge_frames import SimilarFrameMerging
from bvllm.types import Budget, Clip
from bvllm.video import SamplingPlan

ROOT = Path(bvllm.__file__).parent
# <what> must <rule>, got <value>: <what to change>
HOUSE = re.compile(r"\bmust\b.+, got .+: \S", re.DOTALL)
# Errors of a caller's making. What a file or a disk does wrong has its own types, told in one line each.
CHECKED = {"ValueError", "TypeError", "MethodRefused"}


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


@pytest.mark.parametrize(
    "wrong, names, says",
    [
        (lambda: Budget(tokens=0), "budget.tokens", "got 0"),
        (lambda: Budget(frames=-3), "budget.frames", "got -3"),
        (lambda: Clip(zeros(2, 4, 8), zeros(2)), "features", "got shape (2, 4, 8)"),
        (lambda: Clip(zeros(2, 8), zeros(3)), "seconds", "got shape (3,)"),
        (lambda: SimilarFrameMerging(threshold=1.5), "threshold", "got 1.5"),
        (lambda: choose(zeros(2, 3), tau=0.0), "tau", "got 0"),
        (lambda: SamplingPlan(fps=0.0), "fps", "got 0"),
        (lambda: resolve_model("namo"), "model", "'namo'"),
    ],
)
def test_what_a_person_sees(wrong, names, says):
    """The same form where values are in it: which one, what it was, what to do."""
    with pytest.raises(ValueError, match=HOUSE.pattern) as error:
        wrong()
    assert names in str(error.value)
    assert says in str(error.value)
    assert "\n" not in str(error.value)
