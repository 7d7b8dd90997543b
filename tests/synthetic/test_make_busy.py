"""The busy world on disk: the same for any number of workers, and its rows say what the videos show."""

from itertools import pairwise

import numpy as np
import pytest

from bvllm.cli import main
from bvllm.data.chat import LETTERS, read_rows
from bvllm.evaluation.tasks import task_of
from bvllm.synthetic import make_world
from bvllm.synthetic.busy.tasks import BUSY_TASKS
from tests.synthetic.test_make import decoded, differences


def make(out, **changes):
    settings = {
        "split": "test",
        "count": 2,
        "seconds": (16, 16),
        "seed": 5,
        "size": (96, 64),
        "detail": "busy",
    }
    return make_world(out, **{"workers": 1, **settings, **changes})


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make(tmp_path_factory.mktemp("busy"))


def test_the_same_arguments_make_the_same_world_with_any_number_of_workers(made, tmp_path):
    assert differences(made, make(tmp_path / "again")) == []
    assert differences(made, make(tmp_path / "two", workers=2)) == []
    assert made.read_bytes() != make(tmp_path / "other", seed=6).read_bytes()


def test_rows_are_rows_of_the_chat_schema_and_can_be_asked(made):
    rows = read_rows(made)
    assert len(rows) >= 4
    assert {row.task for row in rows} <= set(BUSY_TASKS)
    for row in rows:
        assert row.options[LETTERS.index(row.answer)] == row.open_answer.rpartition("= ")[2]
        assert ("=" in row.open_answer) == (row.task not in ("order", "when"))
        assert all(0 <= needle.start < needle.end <= row.seconds for needle in row.needles)
        named = [needle for needle in row.needles if needle.name in row.question]
        assert named or row.task in ("next", "order"), row.question
    assert [item.id for item in task_of("world").read(made, None)] == [row.id for row in rows]


def test_every_frame_shows_a_scene(made):
    """Within a scene little changes, from one to the next much."""
    row = read_rows(made)[0]
    frames, _ = decoded(made.parent / row.video, fps=1.0)
    assert len(frames) == 16
    apart = [np.abs(a - b).mean() for a, b in pairwise(frames)]
    assert max(apart) > 3 * np.median(apart)


def test_wrong_use_is_one_line(tmp_path, capsys):
    with pytest.raises(ValueError, match="detail must be one of plain, busy, got 'bussy'"):
        make(tmp_path, detail="bussy")
    with pytest.raises(ValueError, match="choose from binding, relation"):
        make(tmp_path, tasks=["colour"])
    words = [
        "world",
        "make",
        "--out",
        str(tmp_path / "w"),
        "--split",
        "test",
        "--count",
        "1",
        "--seconds",
        "8",
    ]
    assert main([*words, "--detail", "busy", "--tasks", "colour"]) == 2
    assert "choose from binding" in capsys.readouterr().err
    assert main([*words, "--detail", "busy", "--tasks", "binding,when"]) == 0
    assert (tmp_path / "w" / "test.jsonl").is_file()
