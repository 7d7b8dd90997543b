"""The pages that add a method, a backbone and a task hold, word for word, in a copy of the checkout."""

import json

import av
import numpy as np
import pytest

from bvllm.cli import main
from tests.docs.pages import follow, run, steps


def red_video(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=2)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for k in range(24):
            picture = np.zeros((64, 96, 3), dtype=np.uint8)
            picture[..., 0] = 220 - k  # a little darker each time, so that no two frames are one
            picture[:16, :32, 2] = 200
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize("page", ["adding-a-method.md", "adding-a-backbone.md", "adding-a-task.md"])
def test_a_page_has_six_steps(page):
    assert steps(page) == list("123456")


@pytest.mark.slow
def test_a_method_is_added_from_the_page(tmp_path):
    commands = follow("adding-a-method.md", tmp_path)
    red_video(tmp_path / "video.mp4")
    world = ["--out", str(tmp_path / "world"), "--count", "1", "--seconds", "8", "--seed", "1"]
    assert main(["world", "make", *world, "--split", "test"]) == 0
    contract, ask, evaluate = commands
    assert " passed" in run(contract, tmp_path)
    assert "1 passed" in run("python -m pytest -q tests/methods/test_strongest.py", tmp_path)
    found = json.loads(run(f"{ask} --json", tmp_path))
    assert found["settings"]["used"]["methods"]["merge_tokens"] == "strongest"
    assert 0 < found["tokens"] <= 64
    assert "overall" in run(evaluate, tmp_path)


@pytest.mark.slow
def test_a_backbone_is_added_from_the_page(tmp_path):
    commands = follow("adding-a-backbone.md", tmp_path)
    red_video(tmp_path / "video.mp4")
    ask, random, index, types = commands
    said = run(ask, tmp_path)
    assert "red" in said
    assert (tmp_path / "page.html").stat().st_size > 1000
    found = json.loads(run(random, tmp_path))
    assert found["answer"] == "red"
    assert found["settings"]["used"]["methods"]["select_frames"] == "random"
    run(index, tmp_path)
    assert "red" in run(ask.replace("--no-index", ""), tmp_path)
    run(types, tmp_path)


@pytest.mark.slow
def test_a_task_is_added_from_the_page(tmp_path):
    tests, types, evaluate = follow("adding-a-task.md", tmp_path)
    (tmp_path / "quiz/clips").mkdir(parents=True)
    red_video(tmp_path / "quiz/clips/a.mp4")
    row = {"id": "1", "video": "a.mp4", "seconds": 12, "question": "which colour?", "kind": "colour"}
    rows = [row | {"options": ["red", "blue"], "answer": "red"}]
    (tmp_path / "quiz/quiz.json").write_text(json.dumps(rows))
    assert " passed" in run(tests, tmp_path)
    run(types, tmp_path)
    assert "colour | 1 |" in run(evaluate, tmp_path)
    assert json.loads((tmp_path / "scores.json").read_text())["settings"]["task"] == "quiz"
