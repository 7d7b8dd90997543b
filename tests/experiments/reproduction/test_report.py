"""Records hold what was asked: cells of nothing are dashes."""

import json

import pytest
from matplotlib.figure import Figure

from benchmarks.speed.result import Conditions
from experiments.reproduction import plots
from experiments.reproduction.markdown import as_markdown
from experiments.reproduction.records import TableRecord
from experiments.reproduction.report import record
from experiments.reproduction.run import Job, Result
from experiments.reproduction.scale import MINIATURE
from experiments.reproduction.score import ScoredAnswer
from experiments.reproduction.statistics import NOTHING
from experiments.reproduction.table import Claim, Row, Table
from experiments.reproduction.variants import FULL, NO_MODULE

TABLE = Table(
    "small",
    "Two systems",
    "A test.",
    (Row("full", FULL), Row("none", NO_MODULE)),
    (Claim("full is above none", FULL, NO_MODULE), Claim("on short ones", FULL, NO_MODULE, ("short",))),
)


@pytest.fixture
def sparse(tmp_path):
    """Two seeds of two systems, asked about short busy videos and plain images alone."""
    for variant in (FULL, NO_MODULE):
        for seed in (1, 2):
            right = variant is FULL
            marks = (
                ScoredAnswer("busy", "short", "binding", right, None, 2, 16, 4),
                ScoredAnswer("busy", "short", "relation", right, None, 3, 24, 4),
                ScoredAnswer("plain", "image", "colour", not right, None, 1, 8, 2),
            )
            Result(marks, 1.0).save(Job(variant, seed).result(tmp_path))
    return record(TABLE, tmp_path, [1, 2], MINIATURE, Conditions.now("a test"))


def test_what_was_not_asked_is_a_dash_and_no_number(sparse):
    page = as_markdown(sparse)
    busy, plain = page.split("On the plain world")
    blank = f"{NOTHING} | {NOTHING} | {NOTHING}"
    assert f"| full | {NOTHING} | 100.0 (100-100) | {blank} | {NOTHING} | 2.5 | 20 |  |" in busy
    assert f"| full | 100.0 (100-100) | {NOTHING} |" in busy  # space, time
    assert f"| full | 0.0 (0-0) | {blank} | {NOTHING} |" in plain
    assert f"| full is above none | video | {NOTHING} | not measured | {NOTHING} | not measured |" in plain
    short = f"| on short ones | short | +100.0 (+100.0 to +100.0) | agrees | {NOTHING} | not measured |"
    assert short in plain
    assert "nan" not in page.lower()


def test_a_picture_has_bars_of_what_was_asked(sparse):
    axes = Figure().add_subplot()
    plots._bars(axes, sparse, "busy", "short", labels=True)
    assert [bar.get_width() for bar in axes.patches] == [100.0, 0.0]
    empty = Figure().add_subplot()
    plots._bars(empty, sparse, "plain", "short", labels=True)
    assert not empty.patches
    assert [label.get_text() for label in empty.get_yticklabels()] == ["full", "none"]


def test_a_record_is_strict_json_and_reads_back(sparse, tmp_path):
    path = tmp_path / "small.json"
    path.write_text(sparse.to_json())
    json.loads(path.read_text(), parse_constant=pytest.fail)  # NaN and Infinity are no JSON
    assert TableRecord.read(path) == sparse
