"""`bvllm ask` as a person runs it: what is printed where, and which exit status comes back."""

import errno
import json
import os
import pty
import re
import subprocess
import sys
import threading
from contextlib import suppress

import pytest

from bvllm.cli import main
from bvllm.cli.console import progress_bar
from bvllm.video import Limits
from tests.videos import write_video

QUESTION = "which colour is the sign ?"


@pytest.fixture
def ask(model, video, capsys):
    """Runs `bvllm ask` on the tiny model: (status, stdout, stderr)."""

    def run(*words: str, source=video, question=QUESTION):
        status = main(["ask", str(source), question, "--model", str(model), "--max-new-tokens", "6", *words])
        return status, *capsys.readouterr()

    return run


def test_the_answer_then_what_it_cost_then_when(ask):
    status, out, err = ask()
    assert (status, err) == (0, "")
    text, cost, times = out.splitlines()
    assert text
    assert re.fullmatch(r"40 frames x 16 patches = 640 tokens -> [1-4] frames?, \d+ tokens?", cost)
    assert re.fullmatch(r"00:\d\d( 00:\d\d){0,3}", times)


def test_thousands_are_set_apart(ask):
    _, out, _ = ask("--fps", "2")
    assert "80 frames x 16 patches = 1 280 tokens" in out


def test_the_budget_holds(ask):
    _, out, _ = ask("--budget", "3", "--frames", "1")
    assert "-> 1 frame, 3 tokens" in out


def test_json_is_one_object_that_tells_all(ask, video, model, tmp_path):
    proof = tmp_path / "proof.html"
    status, out, err = ask(
        "--json", "--evidence", str(proof), "--budget", "400", "--option", "red", "--option", "blue"
    )
    assert (status, err) == (0, "")
    found = json.loads(out)
    assert out.count("\n") == 1
    assert (found["question"], found["options"]) == (QUESTION, ["red", "blue"])
    assert found["answer"]
    assert next(iter(found)) == "doubts"
    assert found["answer"] == found["options"]["AB".index(found["letter"])]
    assert found["tokens"] <= 400
    assert [set(frame) for frame in found["frames"]] == [
        {"index", "seconds", "score", "time", "tokens"}
    ] * len(found["frames"])
    assert found["settings"]["asked"] == {
        "fps": 1.0, "tokens": 400, "frames": 4, "select": "learned", "max_new_tokens": 6, "methods": {},
    }  # fmt: skip
    assert sum(frame["tokens"] for frame in found["frames"]) == found["tokens"]
    assert found["settings"]["used"]["methods"] == {
        "select_frames": "qformer", "merge_frames": "similar", "sample_tokens": "qformer",
        "merge_tokens": "bipartite", "prune_layers": "none", "tokens_policy": "none",
    }  # fmt: skip
    assert found["settings"]["used"]["frames"] == 4
    steps = {"decode_and_encode", "select", "encode_patches", "sample_and_merge_tokens", "answer"}
    assert set(found["timings"]) == steps
    assert {"asked", "got", "skipped", "substituted", "warnings"} <= set(found["video"]["report"])
    assert (found["video"]["width"], found["video"]["report"]["got"]) == (96, 40)
    assert found["command"] == {
        "video": str(video),
        "model": str(model),
        "scorer": None,
        "pipeline": None,
        "threads": None,
        "index": True,
        "stock_tower": False,
        "evidence": str(proof),
    }
    assert proof.read_bytes().startswith(b"<!doctype html>")


def test_the_same_command_gives_the_same_words(ask):
    first = ask("--threads", "1")
    assert ask("--threads", "2") == first
    assert ask("--select", "uniform") != first
    assert ask("--select", "uniform") == ask("--select-frames", "uniform")


def test_a_method_for_every_slot(ask):
    told = "--select-frames uniform --sample-tokens divprune --merge-tokens tome --budget 9 --json".split()
    status, out, err = ask(*told)
    assert (status, out) == (2, "")
    assert "sample_tokens must give" in err
    assert "--force" in err
    assert err.count("\n") == 1
    wide = "vision tower's width and the sampler's differ in this model"
    status, out, err = ask(*told, "--force")
    assert status == 2, wide
    assert "24 wide and patches 16" in err
    status, out, _ = ask("--select-frames", "random", "--seed", "3", "--merge-tokens", "divprune", "--json")
    found = json.loads(out)
    assert status == 0
    assert found["settings"]["used"]["methods"]["merge_tokens"] == "divprune"
    assert found["settings"]["used"]["select"] == "random"
    again = ask("--select-frames", "random", "--seed", "3", "--merge-tokens", "divprune", "--json")[1]
    assert json.loads(again)["frames"] == found["frames"]


def test_a_video_that_is_cut_is_answered_with_one_note(ask, tmp_path):
    whole = write_video(tmp_path / "whole.ts", 20).read_bytes()
    (tmp_path / "cut.ts").write_bytes(whole[: len(whole) * 2 // 3 - 70])
    status, out, err = ask(source=tmp_path / "cut.ts")
    assert status == 0
    assert len(out.splitlines()) == 3
    assert err.startswith("note: ")
    assert err.count("\n") == 1


def test_an_input_that_cannot_be_answered_is_status_one(ask, tmp_path):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "noise.mp4").write_bytes(bytes(range(256)) * 20)
    (tmp_path / "folder").mkdir()
    (tmp_path / "list.m3u8").write_text("#EXTM3U\n#EXTINF:1,\nvideo.mp4\n")
    for name in ("missing.mp4", "empty.mp4", "noise.mp4", "folder", "list.m3u8"):
        status, out, err = ask("--evidence", str(tmp_path / "proof.html"), source=tmp_path / name)
        assert (status, out) == (1, "")
        assert err.startswith("error: ")
        assert err.count("\n") == 1
    assert not (tmp_path / "proof.html").exists()


def test_a_model_that_cannot_be_read_is_status_one(tmp_path, video, capsys):
    (tmp_path / "config.json").write_text('{"model_type": "bvllm"')
    assert main(["ask", str(video), QUESTION, "--model", str(tmp_path)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert re.match(r"error: model .* cannot be loaded: ", err)
    assert err.count("\n") == 1


def test_a_disk_that_is_full_is_status_one(ask, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("bvllm.inference.frame_cache.FrameCache.append", full)
    status, out, err = ask()
    assert (status, out) == (1, "")
    assert err == "error: [Errno 28] No space left on device\n"


def test_without_a_terminal_there_is_no_bar():
    with progress_bar() as bar:
        assert bar is None


@pytest.mark.slow
def test_as_a_program_stderr_is_silent_and_on_a_terminal_it_shows_a_bar(model, video, monkeypatch, capsys):
    """Run for real: no warning of any library slips out, and stdout is the same either way."""
    words = ["ask", str(video), QUESTION, "--model", str(model)]
    words.append("--no-index")  # the second run would have nothing to decode
    plain = subprocess.run([sys.executable, "-m", "bvllm", *words], capture_output=True, text=True)
    assert (plain.returncode, plain.stderr) == (0, "")
    monkeypatch.setenv("TERM", "xterm-256color")
    leader, follower = pty.openpty()
    shown = []
    reader = threading.Thread(target=lambda: shown.extend(read_terminal(leader)))
    reader.start()
    with os.fdopen(follower, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        assert main(words) == 0
    reader.join()
    assert capsys.readouterr().out == plain.stdout
    assert b"decode and encode" in b"".join(shown)
    assert b"answer" in b"".join(shown)


def read_terminal(leader):
    """All that is written to a pseudo-terminal."""
    with suppress(OSError):  # Linux tells its end this way
        while chunk := os.read(leader, 4096):
            yield chunk


def test_what_was_seen_is_kept_unless_one_says_no(model, video, capsys, tmp_path):
    index = tmp_path / "index"
    ask = [str(video), QUESTION, "--model", str(model), "--index", str(index), "--json"]
    assert main(["ask", *ask, "--no-index"]) == 0
    assert not index.exists()
    timings = []
    for _ in range(2):
        assert main(["ask", *ask]) == 0
        timings.append(json.loads(capsys.readouterr().out.splitlines()[-1])["timings"])
    assert "decode_and_encode" in timings[0]
    assert "decode_and_encode" not in timings[1]
    assert "find_in_the_index" in timings[1]


def test_an_index_that_cannot_be_written_costs_a_note_and_no_answer(model, video, capsys, tmp_path):
    (tmp_path / "file").touch()
    ask = [str(video), QUESTION, "--model", str(model), "--index", str(tmp_path / "file" / "index")]
    assert main(["ask", *ask]) == 0
    out, err = capsys.readouterr()
    assert out
    assert err.startswith("note: ")


def test_a_full_disk_costs_the_evidence_and_not_the_answer(ask, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("bvllm.inference.evidence.write.write_evidence", full)
    proof = tmp_path / "proof.html"
    status, out, err = ask("--evidence", proof)
    assert (status, err) == (
        1,
        f"error: {str(proof)!r} must be written, got: no space left on device: free some space, or choose "
        "another place\n",
    )
    assert len(out.splitlines()) == 3


def test_bytes_that_are_no_text_are_wrong_use(model, video, capsys):
    assert main(["ask", str(video), "what is red\udcff?", "--model", str(model)]) == 2
    assert capsys.readouterr().err.startswith("error: question must be text, got bytes that are not UTF-8")


def test_a_model_cannot_give_orders_to_a_terminal(ask, monkeypatch):
    monkeypatch.setattr(
        "bvllm.inference.loading.LoadedModel.generate", lambda *_, **__: "red\x1b]0;owned\x07\ntwo"
    )
    assert ask()[1].splitlines()[:2] == ["red\\x1b]0;owned\\x07", "two"]


@pytest.mark.parametrize("command", ["plan", "doctor", "ask"])
def test_a_person_may_name_a_file_of_any_size(command, model, video, tmp_path, capsys):
    """What a server must not be sent is no concern of somebody's own machine."""
    large = tmp_path / "large.mp4"
    large.write_bytes(video.read_bytes())
    os.truncate(large, Limits().max_bytes + 1)  # the hole costs nothing
    words = {"ask": ["what ?", "--no-index", "--model", str(model)], "plan": ["--model", str(model)]}
    assert main([command, str(large), *words.get(command, [])]) == 0
    assert "limit" not in capsys.readouterr().err
