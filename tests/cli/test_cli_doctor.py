"""`bvllm doctor` as a person runs it."""

import json

from bvllm.cli import main
from tests.video.make import video


def run(capsys, *words):
    status = main(["doctor", *map(str, words)])
    return status, *capsys.readouterr()


def test_a_file_gives_a_line_for_each_finding_and_what_an_answer_rests_on(tmp_path, capsys):
    (tmp_path / "turned.mp4").write_bytes(video(20, turned="rot90"))
    status, out, err = run(capsys, tmp_path / "turned.mp4")
    assert (status, err) == (0, "")
    first, finding, rests = out.splitlines()
    assert first.endswith("turned.mp4: h264 in mp4, 48x64, 2.0 s")
    assert finding.startswith("odd     turned: ")
    assert rests.startswith("answer  2 of 2 frames asked for at 1 a second")


def test_a_folder_gives_a_line_for_each_file_and_a_summary(tmp_path, capsys):
    (tmp_path / "a.mp4").write_bytes(video(24))
    (tmp_path / "b.mp4").write_bytes(b"nothing")
    (tmp_path / "c.mkv").write_bytes(video(240, format="matroska")[:-4000])
    status, out, err = run(capsys, tmp_path)
    lines = out.splitlines()
    assert [line.split()[0] for line in lines] == ["fine", "broken", "loss", "3"]
    assert lines[-1] == "3 files: 1 broken, 1 loss, 1 fine; 2 can be answered"
    assert (status, err) == (1, "error: 1 of 3 files cannot be answered\n")


def test_json_is_one_object(tmp_path, capsys):
    (tmp_path / "a.mp4").write_bytes(video(10))
    status, out, _ = run(capsys, tmp_path / "a.mp4", "--json")
    found = json.loads(out)
    assert (status, found["answerable"], found["not_answerable"]) == (0, 1, 0)
    [file] = found["files"]
    assert (file["answerable"], file["findings"], file["answer"]["got"]) == (True, [], 1)
    assert file["packets"]["packets"] == 10


def test_wrong_use_is_status_two(tmp_path, capsys):
    assert run(capsys, tmp_path)[0] == 2
    status, out, err = run(capsys, tmp_path, "--fps", "0")
    assert (status, out) == (2, "")
    assert err.startswith("error: --fps must be above 0")


def test_a_missing_file_is_status_one(tmp_path, capsys):
    status, _, err = run(capsys, tmp_path / "none.mp4")
    assert status == 1
    assert err.startswith("error: video must exist")
    assert err.count("\n") == 1
