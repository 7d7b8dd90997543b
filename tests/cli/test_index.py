"""`bvllm index` as a person runs it."""

import json
import re
import shlex

import pytest

from bvllm import index as app_index
from bvllm.cli import main
from bvllm.index import IndexFailure
from tests.video import make


@pytest.fixture
def run(model, tmp_path, capsys):
    """Runs `bvllm index` on the tiny model: (status, stdout, stderr)."""

    def run(*words):
        status = main(["index", *map(str, words), "--index", str(tmp_path / "index")])
        return status, *capsys.readouterr()

    return run


@pytest.fixture
def folder(video, tmp_path):
    """Two videos, and one that is none."""
    (tmp_path / "videos").mkdir()
    for name in ("a.mp4", "c.mp4"):
        (tmp_path / "videos" / name).write_bytes(video.read_bytes() + name.encode())
    (tmp_path / "videos" / "b.mp4").write_bytes(b"nothing")
    return tmp_path / "videos"


def spoil(entry):
    data = bytearray(entry.read_bytes())
    data[-1] ^= 1
    entry.write_bytes(data)


def test_a_video_is_looked_at_once(run, video, model):
    status, out, err = run(video, "--model", model)
    assert (status, err) == (0, "")
    assert re.fullmatch(r"indexed .*video.mp4: 40 frames of 00:40, 4\.\d KB in \d+\.\d s\n", out)
    status, out, err = run(video, "--model", model, "--workers", 1)
    assert (status, err) == (0, "")
    assert re.fullmatch(r"ready   .*video.mp4: 40 frames of 00:40, 4\.\d KB\n", out)


def test_a_bad_video_is_one_line_and_the_others_go_on(run, folder, model):
    status, out, err = run(folder, "--model", model)
    assert [line.split(":")[0] for line in out.splitlines()] == [
        f"indexed {folder}/a.mp4",
        f"indexed {folder}/c.mp4",
    ]
    note, error = err.splitlines()
    assert note.startswith(f"note: {folder}/b.mp4: file must be a video")
    assert (status, error) == (1, "error: 1 of 3 videos failed")


def test_json_is_one_object(run, folder, model):
    status, out, _ = run(folder, "--model", model, "--json")
    found = json.loads(out)
    assert status == 1
    assert [video["state"] for video in found["videos"]] == ["indexed", "failed", "indexed"]
    assert (found["videos"][0]["frames"], found["videos"][1]["error"][:10]) == (40, "file must ")
    assert json.loads(run("--list", "--json")[1])["videos"][0]["frames"] == 40
    assert json.loads(run("--check", "--json")[1])["findings"] == []


def test_a_bad_video_alone_is_one_line(run, folder):
    status, out, err = run(folder / "b.mp4")
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert err.startswith("error: file must be a video")


def test_list_check_and_prune(run, folder, model, tmp_path):
    run(folder, "--model", model)
    status, out, err = run("--list")
    assert (status, err) == (0, "")
    first, second, total = out.splitlines()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d +00:40 +40 frames +4\.\d KB  c.mp4", first)
    assert second.endswith("a.mp4")
    assert re.fullmatch(r"2 videos, [89]\.\d KB, in .*", total)
    assert run("--check")[:2] == (0, f"2 entries, 0 findings, in {tmp_path / 'index'}\n")

    entry = next((tmp_path / "index").glob("*.safetensors"))
    spoil(entry)
    status, out, err = run("--check")
    assert status == 1
    assert out.startswith(f"damaged    {entry.name}: its bytes are not those that were written, 4.")
    assert (
        err == "error: 1 of the index's entries cannot be used: bvllm index --prune removes what is damaged\n"
    )
    status, out, _ = run("--prune")
    assert (status, out.splitlines()[-1]) == (0, f"1 entry, 1 removed, in {tmp_path / 'index'}")
    assert run("--prune", "--max-size", 0)[1].startswith("removed ")
    assert run("--list")[1].startswith("0 videos, 0 B, in ")


def test_a_damaged_entry_is_noted_and_made_again(run, video, model, tmp_path):
    run(video, "--model", model)
    entry = next((tmp_path / "index").glob("*.safetensors"))
    spoil(entry)
    status, out, err = run(video, "--model", model)
    assert (status, out[:8]) == (0, "indexed ")
    assert re.fullmatch(r"note: index entry [0-9a-f]{12}… is not used: its bytes are not .*\n", err)


def stop(*_, **__):
    raise KeyboardInterrupt


def fail(*_, **__):
    raise IndexFailure("index folder must have room, got a full disk: free some space")


def test_ctrl_c_is_one_line_and_goes_on_later(run, folder, model, monkeypatch):
    monkeypatch.setattr(app_index, "index_video", stop)
    assert run(folder, "--model", model) == (
        130,
        "",
        "error: interrupted, 0 of 3 videos are done: the same command goes on from here\n",
    )


def test_a_full_disk_is_one_line(run, folder, model, monkeypatch):
    monkeypatch.setattr(app_index, "index_video", fail)
    line = "error: index folder must have room, got a full disk: free some space\n"
    assert run(folder, "--model", model) == (1, "", line)


@pytest.mark.parametrize(
    "line, said",
    [
        ("", "videos must be named, got none"),
        ("--list --check", "--list, --check and --prune must stand alone"),
        ("v.mp4 --list", "must come without videos, got 'v.mp4': leave it out"),
        ("v.mp4 --fps 0", "--fps must be above 0, got 0"),
        ("v.mp4 --workers 0", "--workers"),
        ("v.mp4 --max-size -1", "--max-size must be at least 0, got -1"),
        ("v.mp4 --max-size nan", "--max-size must be at least 0, got nan"),
        ("v.mp4 --model nanno", "did you mean 'nano'?"),
        ("empty", "folder must hold videos, got 'empty' without one"),
    ],
)
def test_wrong_use(line, said, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    status, out, err = run(*shlex.split(line))
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert said in err
    assert not (tmp_path / "index").exists()


def test_what_is_odd_about_a_video_is_told(run, video, tmp_path):
    """The answer will rest on what is there; who indexes a folder should know."""
    data = make.video(120, fps=10, format="mpegts")
    torn = tmp_path / "torn.ts"
    torn.write_bytes(data[: len(data) * 2 // 3 + 1])
    status, out, err = run(torn)
    assert (status, out.count("\n")) == (0, 1)
    assert f"note: {torn}: truncated: the file ends before its container does" in err
    found = json.loads(run(torn, video, "--json")[1])["videos"]
    assert [one["state"] for one in found] == ["ready", "indexed"]
    assert any(line.startswith("truncated") for line in found[0]["warnings"])
    assert found[1]["warnings"] == []


def test_an_entry_that_is_damaged_does_not_count_as_one(run, video, tmp_path):
    assert run(video)[0] == 0
    [entry] = (tmp_path / "index").glob("*.safetensors")
    spoil(entry)
    assert run("--check")[1].splitlines()[-1].startswith("0 entries, 1 findings, in ")
    entry.write_bytes(entry.read_bytes()[:20])
    assert run("--check")[1].splitlines()[-1].startswith("0 entries, 1 findings, in ")


def test_the_index_has_a_name_and_is_no_file(video, tmp_path, capsys):
    (tmp_path / "file").touch()
    for where in ("", str(tmp_path / "file")):
        for words in (["index", "--list"], ["search", str(video), "red"], ["ask", str(video), "what ?"]):
            assert main([*words, "--index", where]) == 2
            assert "the index must lie in a folder, got" in capsys.readouterr().err
