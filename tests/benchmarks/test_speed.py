"""The benchmarks measure what they say, in processes of their own, and the pages say what was measured."""

import json
import sys
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import av
import pytest
import torch

from benchmarks.speed import jobs
from benchmarks.speed.__main__ import NAME, app
from benchmarks.speed.child import run_job
from benchmarks.speed.decoding import decoding
from benchmarks.speed.footage import draw_clip, loop_clip
from benchmarks.speed.goals import BenchmarkPlan, run
from benchmarks.speed.page import as_json, as_markdown, newest_runs, performance_page, read_run
from benchmarks.speed.result import Conditions, Figure
from bvllm.cli import main
from bvllm.video import SamplingPlan, read_video

ROOT = Path(__file__).parents[2]
JOBS = "benchmarks.speed.jobs:"


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return draw_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", 2, (160, 120))


def test_a_looped_clip_repeats_its_frames_at_the_same_pace(clip, tmp_path):
    long = loop_clip(clip, tmp_path / "long.mp4", 5)
    with av.open(str(clip)) as one, av.open(str(long)) as many:
        frames = [f.to_ndarray() for f in one.decode(video=0)]
        shown = [(f.time, f.to_ndarray()) for f in many.decode(video=0)]
    assert len(frames) == 50
    assert len(shown) == 150
    assert all((picture == frames[k % 50]).all() for k, (_, picture) in enumerate(shown))
    steps = {round(b[0] - a[0], 4) for a, b in pairwise(shown)}
    assert steps == {0.04}


def test_the_plain_decoder_takes_the_frames_that_the_reader_takes(clip, tmp_path):
    from benchmarks.speed.baseline import decode_all

    long = loop_clip(clip, tmp_path / "long.mp4", 5)
    _, seconds = decode_all(str(long), 1)
    with read_video(long, SamplingPlan(fps=1.0)) as video:
        ours = [s for chunk in video for s in chunk.seconds.tolist()]
    assert seconds == pytest.approx(ours)


@pytest.mark.slow
def test_a_job_runs_alone_and_tells_what_it_took(clip):
    """And finds on two threads what it finds here on one."""
    alone = run_job(JOBS + "pass_one", video=str(clip), model="nano", threads=2)
    assert alone.found == found_here("pass_one", clip)
    assert alone.cpu > 0
    assert alone.wall > 0
    assert alone.peak > 0


def found_here(name, clip):
    """What a job returns, in this process."""
    words = {"video": str(clip), "model": "nano", "threads": 1}
    return getattr(jobs, name)(getattr(jobs, f"prepare_{name}")(**words), **words)


def test_the_plain_way_and_ours_choose_the_same_frames(clip):
    """With nano's own weights in both, on two seconds of video."""
    both = [found_here(name, clip)["frames"] for name in ("keep_every_token", "first_and_second")]
    assert both[0] == both[1]


def test_a_job_that_fails_says_why():
    """A module that is imported at once: what fails in it does not matter."""
    with pytest.raises(RuntimeError, match=r"must run, got exit status 1: .*prepare_nothing"):
        run_job("benchmarks.speed.child:nothing")


def test_an_unknown_goal_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"goal must be one of G1, .*, got 'G99'"):
        BenchmarkPlan(tmp_path, goals=frozenset({"G99"}))


@pytest.mark.slow
def test_decoding_is_measured_on_the_same_pixels(clip, tmp_path):
    plan = BenchmarkPlan(tmp_path, clips=(clip,), minutes=70, rounds=1, goals=frozenset({"G1"}))
    (tmp_path / "drawn-360p.mp4").symlink_to(clip)
    (tmp_path / "drawn-720p.mp4").symlink_to(clip)
    figures = list(run(plan))
    assert {f.goal for f in figures} == {"G1"}
    assert all(f.details["same_pixels"] for f in figures)


def test_torchcodec_is_a_peer_where_it_can_be_imported(clip, monkeypatch):
    asked = []

    class Decoder:
        """As torchcodec's, of a video of 21 seconds that begins at 0.5."""

        metadata = SimpleNamespace(begin_stream_seconds=0.5, end_stream_seconds=21.5)

        def __init__(self, source, *, num_ffmpeg_threads):
            asked.append(num_ffmpeg_threads)

        def get_frames_played_at(self, seconds):
            asked.extend(seconds)
            return SimpleNamespace(data=torch.zeros(len(seconds), 3, 4, 4, dtype=torch.uint8))

    assert len(decoding(clip, "clip", 1)) == 2
    fake = SimpleNamespace(VideoDecoder=Decoder)
    monkeypatch.setitem(sys.modules, "torchcodec", SimpleNamespace(decoders=fake))
    monkeypatch.setitem(sys.modules, "torchcodec.decoders", fake)
    figures = decoding(clip, "clip", 1)
    assert [f.target for f in figures] == [1.3, 1.9, 1.35, 1.8]
    assert all(f.value > 0 for f in figures)
    assert figures[0].details["same_pixels"]
    assert (asked[0], asked[22]) == (1, 0)  # threads
    assert asked[1:22] == pytest.approx([0.5 + k for k in range(21)], abs=1e-5)


def test_a_run_survives_its_file_and_a_page_shows_what_changed(tmp_path):
    figures = [
        Figure("G1", "decoding", 1.5, 1.3, details={"plain_s": 3.0, "same_pixels": True}),
        Figure("G4", "memory", 70.0, 64.0, "MiB", at_least=False),
        Figure("G3", "nano", 1.1, None),
    ]
    conditions = Conditions.now("make bench")
    file = tmp_path / "run.json"
    file.write_text(as_json(figures, conditions), encoding="utf-8")
    assert read_run(file) == (figures, conditions)
    page = as_markdown(figures, conditions, before=[Figure("G1", "decoding", 1.25, 1.3)])
    assert "| G1 | decoding | 1.50 x | >= 1.30 x | yes | 1.25 x |" in page
    assert "| G4 | memory | 70 MiB | <= 64 MiB | **no** |" in page
    assert "| G3 | nano | 1.10 x |  |  |" in page
    assert "plain_s 3, same_pixels true" in page
    file.write_text(json.dumps({"figures": 3}), encoding="utf-8")
    with pytest.raises(ValueError, match="a recorded run must be JSON"):
        read_run(file)


def test_the_page_is_written_from_the_runs_of_the_last_day():
    page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    assert page == performance_page(newest_runs())


@pytest.mark.parametrize("line, said", [
    (["--against", "missing.json"], "missing.json"),
    (["--clip", "missing.mp4"], "missing.mp4"),
    (["--json", "nowhere/run.json"], "--json must lie in a folder that is there"),
    (["--model", "nan"], "model must be"),
])  # fmt: skip
def test_a_benchmark_is_checked_before_it_runs(line, said, capsys):
    assert main(line, app, NAME) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1


def test_a_clip_that_is_no_video_is_one_line(tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("no video")
    assert main(["--clip", str(tmp_path / "notes.txt"), "--goal", "G1", "--no-drawn"], app, NAME) == 1
    assert capsys.readouterr().err.startswith("error: file must be a video")
