"""What nano does not know it answers as a guess, and says so first; what it knows, without doubt."""

import json

import numpy as np
import pytest
import torch

from bvllm.cli import main
from bvllm.common.text import Question
from bvllm.data.chat import read_rows
from bvllm.inference.ask import answer, encode_video, load_model
from bvllm.inference.model_name import resolve_model
from bvllm.inference.results import answer_as_json, doubt_line
from bvllm.model.knowledge import FILE, Knowledge
from bvllm.synthetic import make_world
from bvllm.synthetic.busy.tasks import BUSY_TASKS
from bvllm.synthetic.busy.timeline import fresh_scenes, plan_busy
from bvllm.synthetic.haystack import DrawnHaystack
from tests.videos import write_video

OUTSIDE = (
    "what is happening in the video?",
    "is there a dog?",
    "who is speaking?",
    "how many people are in the room?",
    "what colour is the dress of the woman?",
    "why does the car stop?",
    "which star is red?",
    "is the picture shown?",
    "summarise the talk.",
    "does he score?",
)


@pytest.fixture(scope="module")
def nano():
    return load_model("nano")


@pytest.fixture(scope="module")
def footage(nano, tmp_path_factory):
    """A video that shows nothing of the world."""
    return encode_video(write_video(tmp_path_factory.mktemp("footage") / "video.mp4", 10), nano)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    out = tmp_path_factory.mktemp("world")
    make_world(out, split="test", count=3, seconds=(24.0, 40.0), seed=5150, workers=1)
    return out


@pytest.fixture(scope="module")
def shown(nano, world):
    """A video of the world."""
    return encode_video(world / read_rows(world / "test.jsonl")[0].video, nano)


@pytest.mark.parametrize("question", OUTSIDE)
def test_no_question_of_another_kind_is_answered_without_doubt(question, nano, shown):
    """Also in a video of the world: the question alone is enough."""
    assert answer(shown, question, nano).doubts


@pytest.mark.parametrize(
    "question", ["which word is written in the video?", "is there a red star in the video?"]
)
def test_no_video_of_another_kind_is_answered_without_doubt(question, nano, footage):
    [doubt] = answer(footage, question, nano).doubts
    assert "nothing in the video" in doubt


def test_what_it_was_trained_for_is_answered_without_doubt(nano, world):
    rows = read_rows(world / "test.jsonl")
    for name in sorted({row.video for row in rows}):
        encoded = encode_video(world / name, nano)
        for row in rows:
            if row.video == name:
                assert answer(encoded, row.question, nano, options=row.options).doubts == (), row.question


@pytest.mark.parametrize("name", ["nano", "dynamic-nano"])
def test_no_question_of_the_busy_world_is_taken_for_one_of_another_kind(name):
    """Its words and its wording are known."""
    known = Knowledge.load(resolve_model(name), channels=128)
    rng, sight = np.random.default_rng(3), torch.zeros(1, 128)
    tasks = set()
    for _ in range(40):
        order = [str(task) for task in rng.permutation(list(BUSY_TASKS))]
        for question in plan_busy(rng, 60, order, fresh_scenes(rng)).questions:
            tasks.add(question.task)
            doubts = known.doubts(Question(question.stem, question.options), sight)
            assert not any("worded" in doubt for doubt in doubts), (question.stem, doubts)
    assert tasks == set(BUSY_TASKS)


def test_unknown_words_are_named_those_of_options_too(nano, footage):
    [words, _] = answer(footage, "which colour is the dog?", nano, options=["red", "beige"]).doubts
    assert words == 'the model does not know the words "dog", "beige"'


def test_the_doubt_comes_first_on_the_page_in_json_and_on_the_screen(nano, footage, tmp_path, capsys):
    given = answer(footage, "is there a dog?", nano)
    assert doubt_line(given).startswith("a guess: ")
    told = answer_as_json(given, footage.info, footage.report)
    assert next(iter(told)) == "doubts"
    assert json.loads(json.dumps(given.trace)) == {k: v for k, v in told.items() if k != "video"}
    video = str(write_video(tmp_path / "video.mp4", 4))
    page = tmp_path / "page.html"
    assert main(["ask", video, "is there a dog?", "--no-index", "--evidence", str(page)]) == 0
    assert capsys.readouterr().out.startswith('a guess: the model does not know the word "dog"')
    body = page.read_text().split("<header>")[1]
    assert body.index("a guess: ") < body.index("is there a dog?")


@pytest.mark.parametrize(
    "spoil",
    [
        {"words": "all"}, {"words": []}, {"questions": [1]}, {"sight": [0.5]}, {"sight": ["x"]},
        {"bias": None}, {"about": ""},
    ],
)  # fmt: skip
def test_a_broken_file_is_named(spoil, tmp_path):
    good = {"about": "it knows", "words": ["red"], "questions": ["is it {}?"]}
    good |= {"sight": [0.5, 0.5], "bias": 0.0}
    (tmp_path / FILE).write_text(json.dumps(good))
    assert Knowledge.load(tmp_path, 2).doubts(Question("is it red?"), torch.ones(1, 2)) == (
        'the model does not know the words "is", "it" (it knows)',
    )
    (tmp_path / FILE).write_text(json.dumps(good | spoil))
    with pytest.raises(ValueError, match=FILE):
        Knowledge.load(tmp_path, 2)


def test_drawn_footage_without_needles_is_not_taken_for_the_world(nano):
    haystack = DrawnHaystack(3, (128, 128))
    pictures = np.stack([np.asarray(haystack.frame(float(t))) for t in range(0, 40, 2)])
    frames = torch.from_numpy(pictures).permute(0, 3, 1, 2).contiguous()
    features = torch.cat([nano.frame_features(part) for part in frames.split(nano.chunk)])
    assert nano.knowledge.doubts(Question("which colour is the star?"), features)
