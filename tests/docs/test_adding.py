"""The pages that add a method, a backbone and a task hold, word for word, in a copy of the checkout."""

import json

import av
import numpy as np
import pytest

from bvllm.synthetic import make_world
from tests.docs.pages import copy_checkout, follow, run, steps


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


@pytest.mark.parametrize("page", ["adding-a-method.md", "adding-a-model.md", "adding-a-task.md"])
def test_a_page_has_six_steps(page):
    assert steps(page) == list("123456")


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """The folder of a checkout to which all three pages were added, and what each of their commands said."""
    home = tmp_path_factory.mktemp("pages")
    copy_checkout(home)
    contract, method_ask, method_eval = follow("adding-a-method.md", home)
    ask, random, index, types = follow("adding-a-model.md", home)
    task_tests, task_types, task_eval = follow("adding-a-task.md", home)
    red_video(home / "video.mp4")
    make_world(home / "world", split="test", count=1, seconds=(8, 8), seed=1, workers=1)
    (home / "quiz/clips").mkdir(parents=True)
    red_video(home / "quiz/clips/a.mp4")
    row = {"id": "1", "video": "a.mp4", "seconds": 12, "question": "which colour?", "kind": "colour"}
    rows = [row | {"options": ["red", "blue"], "answer": "red"}]
    (home / "quiz/quiz.json").write_text(json.dumps(rows))
    commands = {
        "contract": contract,
        "strongest": "python -m pytest -q tests/methods/test_strongest.py",
        "method ask": f"{method_ask} --json",
        "method eval": method_eval,
        "ask": ask,
        "random": random,
        "index": index,
        "ask the index": ask.replace("--no-index", ""),
        "types": types,
        "task tests": task_tests,
        "task types": task_types,
        "task eval": task_eval,
    }
    return home, dict(zip(commands, run(list(commands.values()), home), strict=True))


@pytest.mark.slow
def test_a_method_is_added_from_the_page(found):
    _, said = found
    assert " passed" in said["contract"]
    assert "1 passed" in said["strongest"]
    asked = json.loads(said["method ask"])
    assert asked["settings"]["used"]["methods"]["merge_tokens"] == "strongest"
    assert 0 < asked["tokens"] <= 64
    assert "overall" in said["method eval"]


@pytest.mark.slow
def test_a_backbone_is_added_from_the_page(found):
    home, said = found
    assert "red" in said["ask"]
    assert (home / "page.html").stat().st_size > 1000
    asked = json.loads(said["random"])
    assert asked["answer"] == "red"
    assert asked["settings"]["used"]["methods"]["select_frames"] == "random"
    assert "red" in said["ask the index"]


@pytest.mark.slow
def test_a_task_is_added_from_the_page(found):
    home, said = found
    assert " passed" in said["task tests"]
    assert "colour | 1 |" in said["task eval"]
    assert json.loads((home / "scores.json").read_text())["settings"]["task"] == "quiz"


@pytest.mark.slow
def test_no_command_of_a_page_fails(found):
    _, said = found
    assert [text for text in said.values() if " failed:\n" in text] == []
    assert "Success" in said["types"]
    assert "Success" in said["task types"]
