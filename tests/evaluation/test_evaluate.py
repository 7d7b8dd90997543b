"""What an evaluation counts, by hand and with a model that answers as it is told."""

import json
import math
from pathlib import Path
from types import SimpleNamespace

import pytest

import bvllm.evaluation.evaluate as module
from bvllm.data.chat import LETTERS, Row
from bvllm.evaluation.evaluate import LONGER, Mean, Report, Scored, Share, duration_name, evaluate, score
from bvllm.evaluation.tasks import Item
from bvllm.types import Budget
from tests.test_messages import HOUSE

FIGURES = {"accuracy", "own_words", "circular", "selection_recall", "distinct_frames"}


def row(name="a_0", video="videos/a.mp4", seconds=60.0, needles=((4, 5), (10, 12)), answer="B", split="test"):
    return Row(
        id=name,
        video=video,
        seconds=seconds,
        split=split,
        task="colour",
        question="which colour is the star?",
        options=["red", "blue", "green"],
        answer=answer,
        open_answer="blue",
        needles=[{"name": "blue star", "start": start, "end": end} for start, end in needles],
        messages=[],
    )


def model_that(chooses, frames=()):
    """A stand-in for `answer`: picks an option from the options that it is shown."""

    def answer(encoded, question, loaded, *, budget, options, methods, subtitles):
        letter = chooses(options)
        chosen = tuple(SimpleNamespace(seconds=second) for second in frames)
        said = {"letter": letter, "own_letter": letter, "free_text": f"says {letter}"}
        return SimpleNamespace(**said, options=tuple(options), frames=chosen)

    return answer


def knows(options):
    return LETTERS[options.index("blue")]


def scored(monkeypatch, chooses, *, frames=(), circular=True, **changes):
    monkeypatch.setattr(module, "answer", model_that(chooses, frames))
    asked = row(**changes)
    item = Item(
        asked.id,
        Path(asked.video),
        asked.seconds,
        asked.question,
        tuple(asked.options),
        LETTERS.index(asked.answer),
        asked.task,
        tuple((n.start, n.end) for n in asked.needles),
    )
    return score(item, None, None, budget=Budget(), circular=circular)


def test_either_of_two_equal_options_is_right(monkeypatch):
    def answer(encoded, question, loaded, *, budget, options, methods, subtitles):
        said = {"letter": "A", "own_letter": "C", "free_text": "C", "options": tuple(options), "frames": ()}
        return SimpleNamespace(**said)

    monkeypatch.setattr(module, "answer", answer)
    item = Item("a", Path("a.mp4"), 4.0, "which?", ("blue", "red", "blue"), 2, "colour")
    found = score(item, None, None, budget=Budget(), circular=False)
    assert (found.right, found.own_words) == (True, True)


@pytest.mark.parametrize(
    "values, mean, low, high",
    [
        ([1] * 50 + [0] * 50, 0.5, 0.4038, 0.5962),
        ([0] * 10, 0.0, 0.0, 0.2775),
        ([1] * 10, 1.0, 0.7225, 1.0),
        ([1], 1.0, 0.2065, 1.0),
        ([0.5, 0.5, 0.5, 0.5], 0.5, 0.15, 0.85),
    ],
)
def test_wilsons_interval_by_hand(values, mean, low, high):
    share = Share.of(values)
    assert share.count == len(values)
    assert (share.mean, share.low, share.high) == pytest.approx((mean, low, high), abs=1e-4)


def test_a_mean_by_hand():
    figure = Mean.of([1, 2, 3, 4])  # standard deviation 1.2910, of the mean 0.6455
    assert (figure.mean, figure.low, figure.high, figure.count) == pytest.approx(
        (2.5, 1.2348, 3.7652, 4), abs=1e-4
    )
    assert Mean.of([7.0]) == Mean(7.0, 7.0, 7.0, 1)


@pytest.mark.parametrize("figure", [Share, Mean])
def test_the_mean_of_nothing_is_no_number(figure):
    nothing = figure.of([])
    assert nothing.count == 0
    assert all(map(math.isnan, (nothing.mean, nothing.low, nothing.high)))


@pytest.mark.parametrize(
    "seconds, name",
    [(8, "up to 16 s"), (16, "up to 16 s"), (16.1, "up to 64 s"), (3600, "up to 1 h"), (3601, LONGER)],
)
def test_durations(seconds, name):
    assert duration_name(seconds) == name


def test_who_knows_is_right_in_every_rotation(monkeypatch):
    result = scored(monkeypatch, knows)
    assert (result.right, result.circular) == (True, True)
    assert result.reply == "says B"


def test_who_always_says_the_same_letter_is_right_once(monkeypatch):
    result = scored(monkeypatch, lambda options: "B")
    assert (result.right, result.circular) == (True, False)


def test_right_means_right_for_the_options_as_they_stand(monkeypatch):
    first = ["red", "blue", "green"]
    result = scored(monkeypatch, lambda options: "A" if list(options) == first else knows(options))
    assert (result.right, result.circular) == (False, False)


def test_no_letter_is_wrong(monkeypatch):
    assert not scored(monkeypatch, lambda options: None).right


def test_every_rotation_is_asked_once_and_only_if_wanted(monkeypatch):
    asked = []

    def note(options):
        asked.append(tuple(options))
        return knows(options)

    scored(monkeypatch, note)
    assert asked == [("red", "blue", "green"), ("blue", "green", "red"), ("green", "red", "blue")]
    asked.clear()
    assert scored(monkeypatch, note, circular=False).circular is None
    assert asked == [("red", "blue", "green")]


@pytest.mark.parametrize(
    "frames, recall",
    [
        ((4.0, 11.0), 1.0),
        ((4.9, 5.0), 0.5),  # an event is over at its end
        ((3.9995,), 0.5),  # a presentation time may fall short of the second by a rounding
        ((0.0, 9.9, 12.0), 0.0),
        ((), 0.0),
    ],
)
def test_the_share_of_needles_found(monkeypatch, frames, recall):
    result = scored(monkeypatch, knows, frames=frames)
    assert result.recall == recall
    assert result.frames == len(frames)


def test_where_nothing_is_to_be_found_there_is_no_recall(monkeypatch):
    assert scored(monkeypatch, knows, frames=(1.0,), needles=()).recall is None


def report():
    return Report(
        (
            Scored("a_0", "colour", 12.0, True, True, True, 1.0, 3, "blue (B)"),
            Scored("a_1", "existence", 12.0, True, None, False, None, 5, "no (A)"),
            Scored("b_0", "colour", 500.0, False, True, False, 0.5, 10, "red (A)"),
        ),
        {"model": "nano", "tokens": 512},
    )


def test_a_report_as_json():
    data = json.loads(report().to_json())
    assert data.keys() == FIGURES | {"unread_replies", "settings", "rows"}
    for name in FIGURES:
        assert data[name].keys() == {"overall", "by_task", "by_duration"}
        assert list(data[name]["by_task"]) == ["colour", "existence"]
        assert list(data[name]["by_duration"]) == ["16", "600"]
        assert data[name]["overall"].keys() == {"mean", "low", "high", "count"}
    assert data["accuracy"]["overall"]["mean"] == pytest.approx(2 / 3)
    assert data["circular"]["by_task"]["colour"]["mean"] == 0.5
    assert data["selection_recall"]["overall"] == pytest.approx(
        {**data["selection_recall"]["overall"], "mean": 0.75, "count": 2}
    )
    assert data["distinct_frames"]["by_duration"]["600"]["mean"] == 10
    assert data["rows"][1]["recall"] is None
    assert data["unread_replies"] == 1
    assert data["own_words"]["overall"]["mean"] == pytest.approx(2 / 3)
    assert data["settings"] == {"model": "nano", "tokens": 512}


def test_what_is_no_number_is_null():
    text = report().to_json()
    assert "NaN" not in text
    nothing = {"mean": None, "low": None, "high": None, "count": 0}
    assert json.loads(text)["selection_recall"]["by_task"]["existence"] == nothing


def test_a_report_is_saved_whole_or_not_at_all(tmp_path):
    report().save(tmp_path / "r.json")
    assert json.loads((tmp_path / "r.json").read_text()) == json.loads(report().to_json())
    assert [path.name for path in tmp_path.iterdir()] == ["r.json"]


def test_a_report_as_a_table():
    *lines, _, unread = report().table().splitlines()
    assert unread.startswith("1 of 3 replies")
    assert [line.split("|")[1].strip() for line in lines[2:]] == [
        "**overall**", "up to 16 s", "up to 10 min", "colour", "existence",
    ]  # fmt: skip
    shares = "66.7 % (21-94) | 66.7 % (21-94) | 33.3 % (6-79) | 75.0 % (20-97)"
    assert lines[2] == f"| **overall** | 3 | {shares} | 6.0 |"
    assert lines[-1].split("|")[6].strip() == "-"


class Encoded:
    def __init__(self, path):
        self.path, self.closed = path, False

    def close(self):
        self.closed = True


class Model:
    budget = Budget()

    def methods(self, names):
        own = dict(zip(("select_frames", "merge_frames", "sample_tokens"), ("qformer", "similar", "qformer")))
        return own | {"merge_tokens": "bipartite", "tokens_policy": "none"} | names.given


@pytest.fixture
def bench(monkeypatch):
    """`evaluate` with a model that knows, and a list of the videos that it encoded."""
    videos = []

    def encode_video(path, loaded, *, fps, part):
        assert all(video.closed for video in videos)
        videos.append(Encoded(path))
        return videos[-1]

    monkeypatch.setattr(module, "load_model", lambda name: Model())
    monkeypatch.setattr(module, "encode_video", encode_video)
    monkeypatch.setattr(module, "answer", model_that(knows, frames=(4.0,)))
    return videos


def write(path, *rows):
    for r in rows:
        (path.parent / r.video).parent.mkdir(exist_ok=True)
        (path.parent / r.video).touch()
    path.write_text("".join(r.model_dump_json(exclude_none=True) + "\n" for r in rows), encoding="utf-8")
    return path


def test_each_video_is_encoded_once(bench, tmp_path):
    rows = [row("a_0"), row("a_1", answer="A"), row("b_0", video="videos/b.mp4")]
    write(tmp_path / "test.jsonl", *rows)
    told = []
    found = evaluate(tmp_path, budget=Budget(64, 4), progress=lambda done, count: told.append((done, count)))
    assert [video.path for video in bench] == [tmp_path / "videos/a.mp4", tmp_path / "videos/b.mp4"]
    assert all(video.closed for video in bench)
    assert [(r.id, r.right) for r in found.rows] == [("a_0", True), ("a_1", False), ("b_0", True)]
    assert told == [(1, 3), (2, 3), (3, 3)]
    settings = {
        "model": "nano",
        "tokens": 64,
        "frames": 4,
        "select": "learned",
        "fps": 1.0,
        "split": "test",
        "seed": 0,
    } | {
        "select_frames": "qformer",
        "merge_frames": "similar",
        "sample_tokens": "qformer",
        "merge_tokens": "bipartite",
        "tokens_policy": "none",
    }
    assert found.settings == settings


def test_methods_by_name_are_part_of_the_settings(bench, tmp_path):
    write(tmp_path / "test.jsonl", row("a_0"))
    found = evaluate(tmp_path, select_frames="uniform", merge_tokens="tome").settings
    assert (found["select"], found["select_frames"], found["merge_tokens"]) == ("uniform", "uniform", "tome")
    with pytest.raises(ValueError, match="did you mean 'uniform'"):
        evaluate(tmp_path, select_frames="unifrom")


def test_every_file_of_a_folder_is_asked(bench, tmp_path):
    write(tmp_path / "a.jsonl", row("a_0"))
    write(tmp_path / "b.jsonl", row("b_0"))
    assert [r.id for r in evaluate(tmp_path).rows] == ["a_0", "b_0"]
    assert [r.id for r in evaluate(tmp_path / "b.jsonl").rows] == ["b_0"]


def test_no_questions_are_refused(bench, tmp_path):
    with pytest.raises(ValueError, match=HOUSE.pattern):
        evaluate(tmp_path)
    with pytest.raises(ValueError, match=HOUSE.pattern):
        evaluate(tmp_path / "nowhere.jsonl")
    write(tmp_path / "empty.jsonl")
    with pytest.raises(ValueError, match="data must hold at least one question"):
        evaluate(tmp_path)
    assert not bench


def test_a_folder_of_two_splits_is_no_test(bench, tmp_path):
    write(tmp_path / "test.jsonl", row("a_0"))
    write(tmp_path / "train.jsonl", row("b_0", split="train"))
    with pytest.raises(ValueError, match="data must be of one split, got test, train"):
        evaluate(tmp_path)
    assert [r.id for r in evaluate(tmp_path / "test.jsonl").rows] == ["a_0"]


def test_a_missing_video_is_named_before_anything_is_asked(bench, tmp_path):
    write(tmp_path / "test.jsonl", row("a_0"), row("b_0", video="videos/b.mp4"))
    (tmp_path / "videos/b.mp4").unlink()
    with pytest.raises(FileNotFoundError, match="video of b_0 must be a file"):
        evaluate(tmp_path)
    assert not bench


def test_a_file_in_another_encoding_is_named(bench, tmp_path):
    (tmp_path / "a.jsonl").write_text("{}", encoding="utf-16")
    with pytest.raises(ValueError, match=r"a\.jsonl must be text in UTF-8"):
        evaluate(tmp_path)


def test_a_row_cannot_name_a_file_outside_its_folder(bench, tmp_path):
    (tmp_path / "secret.mp4").touch()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "link.mp4").symlink_to(tmp_path / "secret.mp4")
    for name in ("../secret.mp4", str(tmp_path / "secret.mp4"), "link.mp4"):
        file = tmp_path / "data" / "test.jsonl"
        file.write_text(row("a_0", video=name).model_dump_json(exclude_none=True), encoding="utf-8")
        with pytest.raises(ValueError, match=r"video of a_0 must lie inside .*--media-root"):
            evaluate(tmp_path / "data")
    assert not bench
    file.write_text(row("a_0", video="secret.mp4").model_dump_json(exclude_none=True), encoding="utf-8")
    assert len(evaluate(tmp_path / "data", media_root=tmp_path).rows) == 1


def test_an_unknown_task_suggests_the_nearest(bench, tmp_path):
    with pytest.raises(ValueError, match=r"task must be one of world, mlvu, .*did you mean 'world'"):
        evaluate(tmp_path, task="wrold")
