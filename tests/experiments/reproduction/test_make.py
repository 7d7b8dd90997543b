"""The whole way on a miniature of the miniature: draw, train, examine, write, go on."""

import json
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from bvllm.inference.loading import load_model
from bvllm.nano import alignment
from experiments.reproduction import run as running
from experiments.reproduction.make import make
from experiments.reproduction.report import TableRecord, as_markdown
from experiments.reproduction.run import Job, Result, prepare
from experiments.reproduction.scale import MINIATURE, VIDEO_COLUMNS
from experiments.reproduction.tables import Claim, Row, Table
from experiments.reproduction.train import TrainingContext
from experiments.reproduction.variants import FULL, NO_MODULE

SMALL = replace(
    MINIATURE,
    scenes=20,
    exam_scenes=12,
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


class Here:
    """A pool whose work is done in this process: `load` and `import` once instead of once for each test."""

    def submit(self, step, *args):
        done = Future()
        done.set_result(step(*args))
        return done


@contextmanager
def here(workers):
    yield Here()


@pytest.fixture(autouse=True, scope="module")
def _fewer_questions():
    """Stems that alignment draws before its first step."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(alignment, "QUESTIONS", 32)
        yield


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
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(running, "processes", here)
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


def test_the_same_job_gives_the_same_weights_and_marks(made, tmp_path):
    """Stages here, which leave the same checkpoints; then the marks in a process of their own."""
    (out, _), job = made, Job(FULL, 1)
    for name in ("train.safetensors", "exam.safetensors", "language", "scale.json"):
        (tmp_path / name).symlink_to(out / name)
    shop = TrainingContext.open(tmp_path, SMALL)
    for checkpoint in (shop.align(job.variant, job.seed, print), shop.select(job.variant, job.seed, print)):
        before, again = load_file(out / "checkpoint" / checkpoint.name), load_file(checkpoint)
        assert before.keys() == again.keys()
        assert all(torch.equal(before[name], again[name]) for name in again)
    running.run(tmp_path, SMALL, [job], workers=1, log=print)
    assert Result.read(job.result(tmp_path)).marks == Result.read(job.result(out)).marks
