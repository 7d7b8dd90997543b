"""Where rows lie: none lost, none doubled, whatever stands in them, however they are read."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bvllm.data.readers import row_file
from bvllm.data.readers.row_file import BLOCK, RowOffsets

text = st.text(st.sampled_from('ab{}[]",:\\\n é\u2028'), max_size=12)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 99) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)
rows = st.lists(st.dictionaries(text, values, max_size=4), min_size=1, max_size=8)


def read(path, block=BLOCK):
    found = RowOffsets.of(path, block)
    return [found.read(path, k) for k in range(len(found))], found


def write(path, data):
    path.write_bytes(data if isinstance(data, bytes) else data.encode("utf-8"))
    return path


@settings(max_examples=60)
@given(rows, st.integers(1, 40), st.sampled_from([None, 1, "\t"]), st.booleans())
def test_an_array_comes_back_row_by_row(tmp_path_factory, rows, block, indent, ascii_only):
    data = json.dumps(rows, indent=indent, ensure_ascii=ascii_only)
    path = write(tmp_path_factory.getbasetemp() / "rows.json", data)
    pieces, found = read(path, block)
    assert [json.loads(piece) for piece in pieces] == rows
    assert (found.spans[1:, 0] >= found.spans[:-1, 1]).all()
    raw = path.read_bytes()
    assert found.spans[:, 2].tolist() == [raw.count(b"\n", 0, first) + 1 for first, _, _ in found.spans]


@settings(max_examples=60)
@given(rows, st.lists(st.sampled_from(["", " ", "\r"]), max_size=4))
def test_lines_come_back_line_by_line(tmp_path_factory, rows, blank):
    lines = [*blank, *(json.dumps(row) for row in rows), *blank]
    path = write(tmp_path_factory.getbasetemp() / "rows.jsonl", "\n".join(lines))
    pieces, found = read(path)
    assert [json.loads(piece) for piece in pieces] == rows
    assert found.spans[:, 2].tolist() == list(range(len(blank) + 1, len(blank) + len(rows) + 1))


@pytest.mark.parametrize("block", [1, 7, 1 << 20])
@pytest.mark.parametrize(
    "data, pieces",
    [
        ('[{"a": 1}, 7, "x", {"b": 2}]', ['{"a": 1}', '7, "x"', '{"b": 2}']),
        ('[{"a": 1,}, {"b": [}, {"c": 3}]', ['{"a": 1,}', '{"b": [}', '{"c": 3}']),
        ('[{"a": ]}, {"c": 3}]', ['{"a": ]}', '{"c": 3}']),
        ('[{"a": 1}, {"b": "no end', ['{"a": 1}', '{"b": "no end']),
        ('[{"a": 1}, {"b": [1', ['{"a": 1}', '{"b": [1']),
        ('[{"a": 1},', ['{"a": 1}', ""]),
        ('[{"a": 1}] [{"b": 2}]\n', ['{"a": 1}', '[{"b": 2}]\n']),
        ('\ufeff \n[[1, 2], {"a": 1}]', ["[1, 2]", '{"a": 1}']),
        ('{"a": 1}\n{"b": 2}', ['{"a": 1}\n', '{"b": 2}']),
    ],
)
def test_what_is_no_row_still_counts_as_one(tmp_path, data, pieces, block):
    assert [piece.decode() for piece in read(write(tmp_path / "rows.json", data), block)[0]] == pieces


@pytest.mark.parametrize("data", ["", "  \n", "[]", "[ ]"])
def test_a_file_without_rows_is_refused(tmp_path, data):
    with pytest.raises(
        ValueError, match=r"must hold a JSON array of rows or one row a line, got no row: add"
    ):
        RowOffsets.of(write(tmp_path / "rows.json", data))


@pytest.mark.parametrize("data", ['[{"a": "%s"}]', '{"a": "%s"}'])
def test_a_row_that_never_ends_is_refused(tmp_path, monkeypatch, data):
    monkeypatch.setattr(row_file, "MOST_ROW_BYTES", 1000)
    assert len(RowOffsets.of(write(tmp_path / "rows.json", data % ("x" * 900)))) == 1
    path = write(tmp_path / "rows.json", data % ("x" * 2000))
    with pytest.raises(
        ValueError, match=r"a row must have at most 1000 bytes, got more from byte [01] on: check"
    ):
        RowOffsets.of(path, 64)


def test_a_file_that_changes_is_noticed(tmp_path):
    path = write(tmp_path / "rows.json", '[{"a": 1}]')
    found = RowOffsets.of(path)
    write(path, '[{"a": 12}]')
    with pytest.raises(ValueError, match="must stay as it was opened, got a changed file: open it again"):
        found.read(path, 0)


def test_three_numbers_a_row(tmp_path):
    path = write(tmp_path / "rows.json", json.dumps([{"a": "x" * 10_000}] * 30))
    spans = RowOffsets.of(path).spans
    assert spans.shape == (30, 3)
    assert spans.dtype == np.int64
