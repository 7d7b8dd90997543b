"""Pictures of busy scenes: what they show, what their rows say, and what is refused."""

import numpy as np
import pytest
from PIL import Image

from bvllm.cli import main
from bvllm.data.chat import LETTERS, read_rows
from bvllm.synthetic import make_pictures
from bvllm.synthetic.busy.spatial import SPATIAL
from bvllm.synthetic.busy.timeline import fresh_scenes, plan_picture


def test_pictures_show_the_scene_that_they_are_asked_about(tmp_path):
    made = make_pictures(tmp_path / "one", split="test", count=7, seed=4, size=(320, 240))
    rows = read_rows(made)
    assert [row.task for row in rows] == [*SPATIAL, "binding"]
    for row in rows:
        [part, _] = row.messages[0].content
        assert (part.type, part.file) == ("image", row.video)
        with Image.open(made.parent / row.video) as picture:
            assert picture.size == (320, 240)
        assert row.needles[0].name in row.question
        assert row.options[LETTERS.index(row.answer)] == row.open_answer.rpartition("= ")[2]
    again = make_pictures(tmp_path / "two", split="test", count=7, seed=4, size=(320, 240))
    assert again.read_bytes() == made.read_bytes()
    assert [(again.parent / row.video).read_bytes() for row in rows] == [
        (made.parent / row.video).read_bytes() for row in rows
    ]
    assert not list(made.parent.rglob("*.part"))


@pytest.mark.parametrize(
    "wrong, says",
    [
        ({"split": "dev"}, "split must be"),
        ({"count": 0}, "count must be at least 1"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"size": (63, 64)}, "size must be even"),
        ({"tasks": ["motion"]}, "tasks must be names"),
    ],
)
def test_pictures_that_cannot_be_made(tmp_path, wrong, says):
    settings = {"split": "test", "count": 1, "seed": 0}
    with pytest.raises(ValueError, match=says):
        make_pictures(tmp_path / "out", **{**settings, **wrong})
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "arguments, says",
    [
        (["--pictures"], "--pictures must stand"),
        (["--pictures", "--detail", "busy", "--seconds", "9"], "--pictures must stand"),
        ([], "--seconds must say"),
    ],
)
def test_pictures_and_seconds_exclude_each_other(tmp_path, capsys, arguments, says):
    made = ["world", "make", "--out", str(tmp_path / "out"), "--split", "test", "--count", "1"]
    assert main([*made, *arguments]) == 2
    assert says in capsys.readouterr().err


def test_pictures_on_the_command_line_can_be_evaluated(tmp_path, capsys):
    made = ["world", "make", "--out", str(tmp_path), "--split", "test", "--count", "2", "--seed", "3"]
    assert main([*made, "--detail", "busy", "--pictures"]) == 0
    assert main(["eval", "--data", str(tmp_path)]) == 0
    assert "| binding | 1 |" in capsys.readouterr().out


def test_pictures_without_footage_leave_the_old_ones_alone(tmp_path):
    made = make_pictures(tmp_path, split="test", count=1, seed=4, size=(96, 64))
    before = made.read_bytes()
    (tmp_path / "empty").mkdir()
    with pytest.raises((ValueError, OSError)):
        make_pictures(tmp_path, split="test", count=1, seed=4, size=(96, 64), haystack=tmp_path / "empty")
    assert made.read_bytes() == before


def test_a_task_of_several_scenes_is_no_picture():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="that a picture answers, got 'next'"):
        plan_picture(rng, "next", fresh_scenes(rng))
