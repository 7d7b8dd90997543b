"""`bvllm plan` as a person runs it."""

import json

import pytest

from bvllm.cli import main


def run(capsys, *words):
    status = main(["plan", *map(str, words)])
    return status, *capsys.readouterr()


def test_lines_for_people_and_one_object_for_programs(model, video, capsys):
    status, out, err = run(capsys, video, "--model", model, "--fps", "2")
    assert (status, err) == (0, "")
    assert "80 at 2 a second" in out
    status, out, err = run(capsys, video, "--model", model, "--json")
    assert (status, err, out.count("\n")) == (0, "", 1)
    assert json.loads(out)["frames"] == 40


@pytest.mark.parametrize(
    "words, status, said",
    [
        (["none.mp4"], 1, "video must exist"),
        (["none.mp4", "--fps", "nan"], 2, "--fps must be above 0"),
        (["none.mp4", "--model", "nanno"], 2, "did you mean 'nano'?"),
    ],
)
def test_what_is_wrong_is_one_line(words, status, said, capsys):
    found, out, err = run(capsys, *words)
    assert (found, out) == (status, "")
    assert said in err
    assert err.count("\n") == 1
