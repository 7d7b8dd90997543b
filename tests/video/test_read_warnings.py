"""Warnings are values: a program looks at their kind, people and files get their line."""

import ast
import dataclasses
import json
import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest

import bvllm
from bvllm.video import WARNING_KINDS, VideoReport, VideoWarning
from bvllm.video.read_warnings import ReadFacts

ROOT = Path(bvllm.__file__).parent
WHOLE = ReadFacts(
    limit=None, ends_early=False, damaged=0, gaps=0, unreadable=False, frames=8, seconds=4.0,
    claimed_frames=8, claimed_seconds=4.0, complete=True,
)  # fmt: skip
# Lines that were written into indexes before warnings had a type.
LINES = {
    "limit: stopped at Limits.max_frames = 10, the rest was not read": {"limit": ("max_frames", 10.0)},
    "truncated: the file ends before its container does, the end of the video is missing": {
        "ends_early": True
    },
    "io: the file could not be read to its end": {"unreadable": True},
    "damage: 3 packets or frames did not decode cleanly": {"damaged": 3},
    "gaps: 2 packets arrived incomplete": {"gaps": 2},
    "missing: the header promises 8 frames, the file has 5": {"frames": 5},
    "short: the header promises 4.0 s, the file has 2.5 s": {"seconds": 2.5},
}


@pytest.mark.parametrize("line, facts", LINES.items())
def test_each_finding_has_its_kind_and_the_line_it_always_had(line, facts):
    [warning] = dataclasses.replace(WHOLE, **facts).warnings
    assert str(warning) == line
    assert warning.kind == line.partition(":")[0]
    assert VideoWarning.parse(line) == warning


def test_the_worst_comes_first():
    facts = dataclasses.replace(WHOLE, gaps=1, damaged=1, ends_early=True, unreadable=True)
    assert [warning.kind for warning in facts.warnings] == ["truncated", "io", "damage", "gaps"]
    assert WHOLE.warnings == ()


@pytest.mark.parametrize("kind", WARNING_KINDS)
@pytest.mark.parametrize("text", ["", "x", "limit: a text may hold a colon: and a kind"])
def test_a_line_gives_back_the_warning_that_it_was_made_of(kind, text):
    warning = VideoWarning(kind, text)
    assert VideoWarning.parse(str(warning)) == warning
    assert pickle.loads(pickle.dumps(warning)) == warning


@pytest.mark.parametrize("line", ["", "limit", "limit:", "limits: much", "Limit: no", " io: no", "text"])
def test_other_lines_are_refused(line):
    with pytest.raises(ValueError, match=r"line of a warning must be .*, got .*: read the video again"):
        VideoWarning.parse(line)


def test_other_kinds_are_refused():
    with pytest.raises(ValueError, match=r"kind of a warning must be one of limit, .*, got 'odd': use"):
        VideoWarning("odd", "text")


def test_a_report_finds_a_warning_by_its_kind_and_writes_lines():
    warnings = (VideoWarning("truncated", "a"), VideoWarning("io", "b"), VideoWarning("gaps", "io: c"))
    report = VideoReport(asked=3, warnings=warnings)
    assert report.first("io", "gaps") == warnings[1]
    assert report.first("limit") is None
    written = {
        **dataclasses.asdict(VideoReport(asked=3)),
        "warnings": ["truncated: a", "io: b", "gaps: io: c"],
    }
    assert json.dumps(report.as_json()) == json.dumps(written)


def parsings(source: str) -> Iterator[int]:
    """Lines that take a warning's text apart, or look for a kind in a text."""
    tree = ast.parse(source)
    loops = [node for node in ast.walk(tree) if isinstance(node, ast.For | ast.comprehension)]
    warnings = {ast.unparse(loop.target) for loop in loops if "warnings" in ast.unparse(loop.iter)}
    beginnings = {kind + end for kind in WARNING_KINDS for end in ("", ":", ": ")}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            words = {n.value for a in node.args for n in ast.walk(a) if isinstance(n, ast.Constant)}
            begins = node.func.attr in {"startswith", "removeprefix"} and words & beginnings
            if begins or (hasattr(str, node.func.attr) and ast.unparse(node.func.value) in warnings):
                yield node.lineno
        elif isinstance(node, ast.Compare) and ast.unparse(node.comparators[0]) in warnings:
            yield node.lineno


def test_nobody_parses_a_warning():
    wrong = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in sorted(ROOT.rglob("*.py"))
        for line in parsings(path.read_text(encoding="utf-8"))
    ]
    assert not wrong, "ask for the kind of a warning, do not parse its text:\n" + "\n".join(wrong)


@pytest.mark.parametrize(
    "source, found",
    [
        ('[w for w in report.warnings if w.startswith("limit")]', True),
        ("for w in report.warnings:\n    w.startswith(UNREAD)", True),
        ('for w in report.warnings:\n    name, _, text = w.partition(": ")', True),
        ('any("limit" in w for w in report.warnings)', True),
        ('line.startswith(("truncated:", "io:"))', True),
        ('[w for w in report.warnings if w.kind == "limit"]', False),
        ('report.first("limit")', False),
        ('name.startswith("vision")', False),
    ],
)
def test_the_rule_itself(source, found):
    assert bool(list(parsings(source))) is found
