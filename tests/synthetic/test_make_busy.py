"""The busy world on disk: the same for any number of workers, and its rows say what the videos show."""

from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from bvllm.cli import main
from bvllm.data.chat import LETTERS, read_rows
from bvllm.evaluation.tasks import task_of
from bvllm.synthetic import make_pictures, make_world
from bvllm.synthetic.busy.spatial import SPATIAL
from bvllm.synthetic.busy.tasks import BUSY_TASKS
from bvllm.synthetic.busy.timeline import fresh_scenes, plan_picture
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
