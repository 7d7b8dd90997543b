"""`bvllm search` as a person runs it."""

import json
import re
import shlex

import pytest
import torch

from bvllm.cli import main
from bvllm.model.text_encoder import TextEncoder
from tests.model import tiny


@pytest.fixture
def search(model, tmp_path, capsys):
    def run(*words):
        status = main(["search", *map(str, words), "--model", str(model), "--index", str(tmp_path / "index")])
        return status, *capsys.readouterr()

    return run


def test_moments_a_line_each_and_the_video_is_indexed_in_passing(search, video):
    status, out, err = search(video, "which colour is red", "--top", "3")
    assert status == 0
    lines = out.splitlines()
    assert len(lines) == 3
    assert all(re.fullmatch(r" *-?\d+\.\d\d +00:\d\d  .*video\.mp4", line) for line in lines)
    assert err == "note: this model has no word tower: frames are ranked by its selector, which is slower\n"
    assert search(video, "which colour is red", "--top", "3", "--no-index-missing")[:2] == (0, out)


def test_json_is_one_object_and_evidence_is_written(search, video, tmp_path):
    status, out, _ = search(video, "red zebra", "--json", "--evidence", tmp_path / "proof.html")
    found = json.loads(out)
    assert (status, found["how"], found["unknown"], found["frames"]) == (0, "selector", ["zebra"], 40)
    assert found["exact"] is True
    assert {"video", "frame", "seconds", "time", "score"} == set(found["moments"][0])
    assert (tmp_path / "proof.html").stat().st_size > 1000


def test_what_is_not_indexed_is_named_with_the_command(search, video):
    status, out, err = search(video, "red", "--no-index-missing")
    assert (status, out) == (1, "")
    command = re.search("1 video is not indexed yet: run `bvllm (index .*)` first", err)[1]
    assert command.startswith(f"index {video} --index ")
    assert main(shlex.split(command)) == 0
    assert search(video, "red", "--no-index-missing")[0] == 0
    assert err.count("\n") == 1


def test_a_broken_file_among_others_is_a_note(search, video, tmp_path):
    (tmp_path / "broken.mp4").write_bytes(b"nothing")
    status, out, err = search(tmp_path / "broken.mp4", video, "red", "--top", "1")
    assert (status, out.count("\n")) == (0, 1)
    assert "broken.mp4: file must be a video" in err
    status, out, err = search(tmp_path / "broken.mp4", "red")
    assert (status, out) == (1, "")
    assert err.startswith("error: file must be a video")


@pytest.mark.parametrize(
    "words, said",
    [
        (["red"], "search must be given videos and then words"),
        (["video.mp4", " "], "query must hold words"),
        (["video.mp4", "red", "--fps", "0"], "--fps must be above 0"),
        (["video.mp4", "red", "--evidence", "proof.pdf"], "evidence must end in"),
    ],
)
def test_wrong_use_is_status_two(search, words, said):
    status, out, err = search(*words)
    assert (status, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1


def test_a_query_of_unknown_words_is_wrong_use(search, video):
    status, _, err = search(video, "zebra")
    assert status == 2
    assert "query must hold a word that the model knows" in err


@pytest.fixture
def words(monkeypatch) -> None:
    """The model has a word tower."""
    tower = TextEncoder(["star"], tiny.model().config.vision_config.hidden_size)
    with torch.no_grad():
        tower.table.weight.copy_(torch.randn(tower.table.weight.shape))
    monkeypatch.setattr("bvllm.asking.query.text_encoder_of", lambda _: tower)


def test_words_rank_every_frame_exactly_and_exact_is_still_taken(search, video, words):
    status, out, err = search(video, "star", "--json")
    assert (status, json.loads(out)["how"], err) == (0, "words", "")
    assert search(video, "star", "--json", "--exact") == (status, out, err)


def test_a_video_in_several_files_is_searched_once_and_what_was_left_out_is_listed(search, video, tmp_path):
    folder = tmp_path / "videos"
    folder.mkdir()
    for name in ("a.mp4", "b.mp4"):
        (folder / name).write_bytes(video.read_bytes())
    (folder / "c.mp4").write_bytes(b"nothing")
    status, out, err = search(folder, "red", "--json")
    found = json.loads(out)
    assert (status, found["videos"], found["frames"]) == (0, 1, 40)
    assert {moment["video"] for moment in found["moments"]} == {str(folder / "a.mp4")}
    left_out = {entry["video"]: entry["why"] for entry in found["left_out"]}
    assert left_out[str(folder / "b.mp4")] == f"the same video as {folder / 'a.mp4'}"
    assert "no allowed format fits" in left_out[str(folder / "c.mp4")]
    assert "note: 1 of the 3 files hold a video that another holds as well\n" in err
