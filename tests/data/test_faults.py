"""Invalid rows: counted once, named, and fatal where asked."""

import pickle

import pytest

from bvllm.data import faults
from bvllm.data.faults import SHOWN, Fault, InvalidRow, InvalidRowLog


def bad(k, kind="json"):
    return InvalidRow(f"a.json:{k} (row {k})", kind, "no reason")


def test_a_row_counts_once_however_often_it_comes_up(tmp_path):
    for log in (InvalidRowLog(), InvalidRowLog(path=tmp_path / "faults.jsonl")):
        for k in (1, 2, 1, 2, 1):
            log.add(bad(k))
        log.add(bad(3, "missing"))
        assert [fault.where[7] for fault in log.faults()] == ["1", "2", "3"]
        assert log.summary(rows=7) == (
            "3 of 7 rows left out: 2 json, 1 missing\n"
            "a.json:1 (row 1): json: no reason\na.json:2 (row 2): json: no reason\n"
            "a.json:3 (row 3): missing: no reason"
        )


def test_a_file_gathers_the_faults_of_all_processes(tmp_path):
    path = tmp_path / "faults.jsonl"
    first, second = InvalidRowLog(path=path), InvalidRowLog(path=path)
    first.add(bad(1))
    second.add(bad(1))
    second.add(InvalidRow("b.json:2", "schema", "e\u0301 \udcff"))
    for log in (first, second):
        assert [fault.where for fault in log.faults()] == ["a.json:1 (row 1)", "b.json:2"]


def test_nothing_bad_and_much_that_is(tmp_path):
    assert InvalidRowLog().summary() == "0 rows left out"
    assert InvalidRowLog(path=tmp_path / "none.jsonl").summary(4) == "0 of 4 rows left out"
    log = InvalidRowLog()
    for k in range(SHOWN + 5):
        log.add(bad(k))
    lines = log.summary().split("\n")
    assert lines[0] == f"{SHOWN + 5} rows left out: {SHOWN + 5} json"
    assert len(lines) == SHOWN + 2
    assert lines[-1] == "... and 5 more"


def test_the_first_bad_row_is_fatal_where_asked():
    log = InvalidRowLog("raise")
    with pytest.raises(InvalidRow, match=r"a.json:1 \(row 1\): json: no reason"):
        log.add(bad(1))
    with pytest.raises(ValueError, match="on_error must be 'skip' or 'raise', got 'ignore': choose one"):
        InvalidRowLog("ignore")


def test_a_bad_row_travels_between_processes():
    error = pickle.loads(pickle.dumps(bad(1)))
    assert error.fault == Fault("a.json:1 (row 1)", "json", "no reason")


def test_a_full_disk_costs_the_file_and_not_the_training(tmp_path):
    log = InvalidRowLog(path=tmp_path / "gone" / "faults.jsonl")
    log.add(InvalidRow("a:1", "json", "broken"))
    assert [fault.where for fault in log.faults()] == ["a:1"]
    whole = InvalidRowLog(path=tmp_path / "faults.jsonl")
    whole.add(InvalidRow("a:1", "json", "broken"))
    with open(whole.path, "ab") as file:
        file.write(b'{"where": "a:2", "ki')  # what a full disk left of a line
    assert [fault.where for fault in whole.faults()] == ["a:1"]


def test_the_old_names_still_answer():
    assert (faults.BadRow, faults.FaultLog) == (InvalidRow, InvalidRowLog)
