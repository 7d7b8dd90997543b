"""The chat schema: what is written can be read, and what cannot be read says where."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bvllm.common import text as question
from bvllm.data import chat
from bvllm.data.chat import LETTERS, Row, format_clock, join_options, parse_letter, read_rows, split_options
from tests.test_messages import HOUSE

ROW = {
    "id": "a_0",
    "video": "videos/a.mp4",
    "seconds": 12.0,
    "split": "val",
    "task": "colour",
    "question": "which colour is the star?",
    "options": ["red", "blue", "green"],
    "answer": "B",
    "open_answer": "blue",
    "needles": [{"name": "blue star", "start": 4.0, "end": 5.0}],
    "messages": [
        {"role": "user", "content": [{"type": "video", "path": "videos/a.mp4"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "blue (B)"}]},
    ],
}
options = st.lists(
    st.from_regex(r"[a-z0-9][a-z0-9:, =]{0,12}[a-z0-9]", fullmatch=True), min_size=2, max_size=len(LETTERS)
)


@pytest.mark.parametrize(
    "seconds, clock",
    [
        (0, "00:00"),
        (59.9, "00:59"),
        (59.9999, "01:00"),  # a sum of frame durations may fall short of a whole second
        (60, "01:00"),
        (3599, "59:59"),
        (3600, "1:00:00"),
        (36_061, "10:01:01"),
    ],
)
def test_the_clock(seconds, clock):
    assert format_clock(seconds) == clock


@given(st.integers(0, 100_000))
def test_the_clock_can_be_read_back(seconds):
    parts = [int(part) for part in format_clock(seconds).split(":")]
    assert sum(part * 60**place for place, part in enumerate(reversed(parts))) == seconds


@pytest.mark.parametrize(
    "text, letter",
    [
        ("00:04, 00:19 = 2 (C)", "C"),
        ("(A) or rather ( D )", "D"),
        ("B", "B"),
        (" B. ", "B"),
        ("b)", None),
        ("(I)", None),
        ("a red star", None),
        ("A red star", None),
        ("", None),
    ],
)
def test_the_letter_of_an_answer(text, letter):
    assert parse_letter(text) == letter


@given(st.from_regex(r"[a-z][a-z ,]{0,30}[a-z]\?", fullmatch=True), options)
def test_options_come_apart_as_they_were_joined(stem, choices):
    assert split_options(join_options(stem, choices)) == (stem, choices)


def test_there_is_one_way_to_take_options_apart():
    assert chat.split_options is question.split_options


def test_more_options_than_letters_are_refused():
    with pytest.raises(ValueError, match=r"options must be at most 8, got 9: leave some out"):
        join_options("which?", [str(k) for k in range(9)])


def write(path, *lines):
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_rows_are_read_and_empty_lines_passed_over(tmp_path):
    file = write(tmp_path / "a.jsonl", json.dumps(ROW), "", json.dumps({**ROW, "id": "a_1"}))
    rows = read_rows(file)
    assert [row.id for row in rows] == ["a_0", "a_1"]
    assert rows[0] == Row.model_validate(ROW)
    assert json.loads(rows[0].model_dump_json(exclude_none=True)) == ROW


@pytest.mark.parametrize("separator", ["\u2028", "\x85", "\x0b"])
def test_a_row_ends_where_its_line_ends(tmp_path, separator):
    """JSON leaves some separators as they are; only a line feed ends a line of JSONL."""
    row = {**ROW, "question": f"which{separator}colour?"}
    file = write(tmp_path / "a.jsonl", json.dumps(row, ensure_ascii=separator == "\x0b"))
    assert read_rows(file)[0].question == row["question"]


@pytest.mark.parametrize(
    "line, says",
    [
        ("{not json", "one that must be JSON"),
        (json.dumps({k: v for k, v in ROW.items() if k != "task"}), "one without task"),
        (json.dumps({**ROW, "seconds": "long"}), "seconds must be a number"),
        (json.dumps({**ROW, "answer": "D"}), "got 'D' for 3 options"),
        (json.dumps({**ROW, "answer": ""}), "got '' for 3 options"),
        (
            json.dumps({**ROW, "messages": [{"role": "user", "content": [], "x": 1}]}),
            "messages.0.x is not known here",
        ),
    ],
)
def test_a_line_that_is_no_row_is_named(tmp_path, line, says):
    file = write(tmp_path / "a.jsonl", json.dumps(ROW), line)
    with pytest.raises(ValueError, match=HOUSE.pattern) as error:
        read_rows(file)
    assert str(error.value).startswith(f"{file}:2 must be a row")
    assert says in str(error.value)
    assert not re.search(r"\n|pydantic", str(error.value))
