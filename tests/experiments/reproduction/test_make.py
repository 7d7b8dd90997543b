"""The whole way on a miniature of the miniature: draw, train, examine, write, go on."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from bvllm.inference.loading import load_model
from experiments.reproduction import run as running
from experiments.reproduction.make import make
from experiments.reproduction.report import TableRecord, as_markdown
from experiments.reproduction.run import Job, Result, prepare
from experiments.reproduction.scale import MINIATURE, VIDEO_COLUMNS
from experiments.reproduction.tables import Claim, Row, Table
from experiments.reproduction.variants import FULL, NO_MODULE

SMALL = replace(
    MINIATURE,
    scenes=20,
    exam_scenes=40,
    alignment_steps=2,
    alignment_frames=16,
    selection=replace(MINIATURE.selection, steps=2, batch=4),
    instruction=replace(MINIATURE.instruction, steps=2, batch=4),
    questions=6,
)
TABLE = Table(
    "small",
    "Two systems",
    "A test.",
    (Row("full", FULL, "the paper's"), Row("none", NO_MODULE)),
    (Claim("full is above none", FULL, NO_MODULE),),
)


@pytest.fixture(scope="module")
def warm(tmp_path_factory):
    """What `bvllm train nano` leaves of its language stage; here with the finished model's weights."""
    folder = tmp_path_factory.mktemp("nano") / "language"
    model = load_model("nano").model.float().model
    model.language_model.save_pretrained(folder)
    save_file(model.clock.state_dict(), folder / "clock.safetensors")
    (folder / "done").touch()
    return folder.parent


@pytest.fixture(scope="module")
def made(tmp_path_factory, warm):
    out = tmp_path_factory.mktemp("out")
    threads = torch.get_num_threads()
    pages = make((TABLE,), out, seeds=2, warm=warm, workers=1, scale=SMALL, command="a test", log=print)
    assert torch.get_num_threads() == threads
    return out, pages


def test_files_are_written(made):
    out, pages = made
    assert {"small.md", "small.json", "small.png", "small.svg"} <= {p.name for p in out.iterdir()}
    assert (out / "small.md").read_text() == pages[0] + "\n"
    assert not list(out.rglob("*.part"))


def test_record_reads_back_and_shows_the_same_page(made):
    out, pages = made
    found = TableRecord.read(out / "small.json")
    assert as_markdown(found) == pages[0]
    assert found.seeds == [1, 2]
    assert found.conditions["command"] == "a test"
    assert [row.variant for row in found.rows] == ["full", "none"]


def test_figures_are_those_of_the_marks(made):
    out, _ = made
    row = TableRecord.read(out / "small.json").rows[0]
    marks = [m for seed in (1, 2) for m in Result.read(Job(FULL, seed).result(out)).marks]
    of_videos = [m for m in marks if m.duration in VIDEO_COLUMNS]
    assert row.accuracy["video"].mean == pytest.approx(sum(m.right for m in of_videos) / len(of_videos))
    assert row.tokens == pytest.approx(sum(m.tokens for m in of_videos) / len(of_videos))
    assert max(m.tokens for m in marks) <= 64


def test_seeds_and_variants_share_questions(made):
    out, _ = made
    asked = [
        [(m.duration, m.task) for m in Result.read(Job(v, s).result(out)).marks]
        for v in (FULL, NO_MODULE)
        for s in (1, 2)
    ]
    assert all(other == asked[0] for other in asked)


def test_a_later_run_trains_only_what_is_missing(made, monkeypatch):
    out, _ = made
    before = Job(FULL, 1).result(out).stat().st_mtime_ns
    monkeypatch.setattr(running, "processes", None)  # there is nothing to train
    make((TABLE,), out, seeds=2, workers=1, scale=SMALL, command="again", log=print)
    assert Job(FULL, 1).result(out).stat().st_mtime_ns == before
    assert json.loads((out / "small.json").read_text())["conditions"]["command"] == "again"


def test_another_scale_needs_another_folder(made):
    out, _ = made
    with pytest.raises(ValueError, match="choose a new folder"):
        prepare(out, replace(SMALL, questions=7), workers=1, warm=None, log=print)


def test_warm_must_hold_a_finished_language_model(made, tmp_path):
    out, _ = made
    for name in ("train.safetensors", "exam.safetensors"):
        (tmp_path / name).symlink_to(out / name)
    with pytest.raises(ValueError, match="finished language model"):
        prepare(tmp_path, SMALL, workers=1, warm=tmp_path, log=print)


def test_the_same_job_gives_the_same_marks(made, tmp_path, warm):
    out, _ = made
    for name in ("train.safetensors", "exam.safetensors", "language", "scale.json"):
        (tmp_path / name).symlink_to(out / name)
    running.run(tmp_path, SMALL, [Job(FULL, 1)], workers=1, log=print)
    assert Result.read(Job(FULL, 1).result(tmp_path)).marks == Result.read(Job(FULL, 1).result(out)).marks
