"""MLVU's layout is read: seven tasks, answers as text, videos below the name of their file."""

import json

import pytest

from bvllm.evaluation.tasks import TASKS

ROW = {
    "video": "ego_3.mp4",
    "duration": 480,
    "question": "Where did I put the cup?",
    "candidates": ["sink", "table", "bag", "bed"],
    "answer": "table",
    "question_type": "ego",
}


def folder(tmp_path, rows, name="4_ego"):
    (tmp_path / "json").mkdir()
    (tmp_path / "video" / name).mkdir(parents=True)
    (tmp_path / "video" / name / "ego_3.mp4").touch()
    (tmp_path / "json" / f"{name}.json").write_text(json.dumps(rows))
    return tmp_path


def read(data):
    return TASKS["mlvu"].read(data, None)


def test_a_question_is_read(tmp_path):
    [item] = read(folder(tmp_path, [ROW]))
    assert (item.options[item.answer], item.task, item.seconds) == ("table", "ego", 480)
    assert item.video == tmp_path / "video/4_ego/ego_3.mp4"


def test_open_tasks_are_left_out_and_a_question_without_a_right_option_stays(tmp_path):
    rows = [ROW, {**ROW, "question_type": "summary"}, {**ROW, "answer": "moon"}]
    assert [item.answer for item in read(folder(tmp_path, rows))] == [1, None]


@pytest.mark.parametrize("rows", [{}, [1], [{**ROW, "candidates": "sink"}]])
def test_a_broken_file_is_named(tmp_path, rows):
    data = folder(tmp_path, rows)
    if not rows:
        (tmp_path / "json/4_ego.json").write_text("{")
    with pytest.raises(ValueError, match=r"4_ego.json must be a list of MLVU's questions"):
        read(data)


def test_an_empty_folder_says_what_must_lie_there(tmp_path):
    with pytest.raises(ValueError, match=r"json/<number>_<task>.json"):
        read(tmp_path)


def test_a_missing_video_is_named(tmp_path):
    data = folder(tmp_path, [{**ROW, "video": "ego_4.mp4"}])
    with pytest.raises(FileNotFoundError, match="4_ego/0"):
        read(data)
