"""The whole way on a miniature of the miniature: draw, train, examine, write, go on."""

import json
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from bvllm.nano import replies
from experiments.reproduction import feature_words, free_answers, longer_selection, pairing_error
from experiments.reproduction import run as running
from experiments.reproduction.make import make
from experiments.reproduction.markdown import as_markdown
from experiments.reproduction.prepare import prepare, scale_of
from experiments.reproduction.records import TableRecord
from experiments.reproduction.run import Job, Result
from experiments.reproduction.scale import DURATIONS, MINIATURE, VIDEO_COLUMNS, WORLDS
from experiments.reproduction.table import Claim, Row, Table
from experiments.reproduction.train import TrainingContext, banks_of
from experiments.reproduction.variants import FULL, NO_MODULE, NO_SELECTION

SMALL = replace(
    MINIATURE,
    scenes=12,
    busy_scenes=24,
    exam_scenes=12,
    busy_exam_scenes=24,
    matching_steps=2,
    matching_clips=8,
    selection=replace(MINIATURE.selection, steps=2, batch=4),
    instruction=replace(MINIATURE.instruction, steps=2, batch=4),
    questions=3,
    language_steps=1,
    known_language_steps=1,
    language_batch=6,
)
FEWER = FULL.at(frames=8, tokens=4)
TABLE = Table(
    "small",
    "Two systems",
    "A test.",
    (Row("full", FULL, "the paper's"), Row("none", NO_MODULE), Row("fewer", FEWER)),
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


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(running, "processes", here)
        patch.setattr(replies, "LONGEST", 3)  # what says nothing yet need not say it at length
        pages = make((TABLE,), out, seeds=2, workers=1, scale=SMALL, command="a test", log=print)
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
    assert [row.variant for row in found.rows] == ["full", "none", "full@L8-R4"]
    assert found.worlds == ("busy", "plain")
    assert [claim.world for claim in found.claims] == ["busy", "plain"]


def test_figures_are_those_of_the_marks(made):
    out, _ = made
    row = TableRecord.read(out / "small.json").rows[0]
    marks = [m for seed in (1, 2) for m in Result.read(Job(FULL, seed).result(out)).marks]
    assert {m.world for m in marks} == set(row.worlds) == set(WORLDS)
    for world, own in row.worlds.items():
        of_videos = [m for m in marks if m.world == world and m.duration in VIDEO_COLUMNS]
        right = sum(m.right for m in of_videos) / len(of_videos)
        assert own.accuracy["video"].mean == pytest.approx(right)
        assert own.tokens == pytest.approx(sum(m.tokens for m in of_videos) / len(of_videos))
    assert max(m.tokens for m in marks) <= 64


def test_seeds_and_variants_share_questions(made):
    out, _ = made
    asked = [
        [(m.world, m.duration, m.task) for m in Result.read(Job(v, s).result(out)).marks]
        for v in (FULL, NO_MODULE, FEWER)
        for s in (1, 2)
    ]
    assert all(other == asked[0] for other in asked)
    assert len(asked[0]) == SMALL.questions * len(WORLDS) * len(DURATIONS)


def test_numbers_at_inference_are_of_the_trained_model_and_train_nothing(made):
    out, _ = made
    models = sorted(folder.name for folder in (out / "models").iterdir())
    assert models == ["full-1", "full-2", "none-1", "none-2"]
    marks = Result.read(Job(FEWER, 1).result(out)).marks
    assert max(m.frames for m in marks) <= 8
    assert max(m.tokens for m in marks) <= 8 * 4


def test_a_later_run_trains_only_what_is_missing(made, monkeypatch):
    out, _ = made
    before = Job(FULL, 1).result(out).stat().st_mtime_ns
    monkeypatch.setattr(running, "processes", None)  # there is nothing to train
    make((TABLE,), out, seeds=2, workers=1, scale=SMALL, command="again", log=print)
    assert Job(FULL, 1).result(out).stat().st_mtime_ns == before
    assert json.loads((out / "small.json").read_text())["conditions"]["command"] == "again"


def test_another_scale_needs_another_folder(made):
    out, _ = made
    assert scale_of(out) == SMALL
    with pytest.raises(ValueError, match="choose a new folder"):
        prepare(out, replace(SMALL, questions=7), workers=1, warm=None, log=print)


@pytest.mark.parametrize("missing", ["tower/done", "language/done", "language/where.safetensors", "busy"])
def test_warm_must_hold_a_finished_tower_and_language_model_of_both_worlds(made, tmp_path, missing):
    out, _ = made
    warm = tmp_path / "warm"
    for stage in ("tower", "language"):
        (warm / stage).mkdir(parents=True)
        for file in (out / stage).iterdir():
            (warm / stage / file.name).symlink_to(file)
    if missing == "busy":
        (warm / "run.json").write_text('{"recipe": {"busy_scenes": 0}}')
    else:
        (warm / missing).unlink()
    with pytest.raises(ValueError, match="finished tower and language model of both worlds"):
        prepare(tmp_path / "out", SMALL, workers=1, warm=warm, log=print)


def test_a_warm_tower_and_language_model_are_taken_as_they_are(made, tmp_path):
    out, _ = made
    for world in WORLDS:
        for name in ("train", "exam"):
            (tmp_path / f"{name}-{world}.safetensors").symlink_to(out / f"{name}-{world}.safetensors")
    prepare(tmp_path, SMALL, workers=1, warm=out, log=print)
    for name in ("tower/model.safetensors", "language/model.safetensors", "language/where.safetensors"):
        assert (tmp_path / name).read_bytes() == (out / name).read_bytes()


def test_a_shared_stage_is_the_same_whichever_variant_needs_it(made, tmp_path):
    """Else a run that was stopped would go on to other figures: another variant may come first then."""
    out, _ = made
    shop = TrainingContext.open(out, SMALL)
    first, again = shop.pair(FULL, 1, print), replace(shop, home=tmp_path).pair(NO_SELECTION, 1, print)
    assert first.name == again.name
    before, after = load_file(first), load_file(again)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in after)


def test_words_are_read_off_a_feature_that_tells_them_and_off_no_other(made, monkeypatch):
    out, _ = made
    monkeypatch.setattr(feature_words, "OFTEN", 3)
    monkeypatch.setattr(feature_words, "PENALTY", 0.01)  # of a few frames
    banks = [plan.read(out) for plan in banks_of(SMALL)]
    told = [feature_words.words_of(bank, "plain") + feature_words.words_of(bank, "busy") for bank in banks]
    known = sorted(set().union(*told[0]))
    tells = [
        replace(bank, frames=torch.tensor([[float(word in words) for word in known] for words in some]))
        for bank, some in zip(banks, told, strict=True)
    ]
    noise = [replace(bank, frames=torch.randn(len(bank.frames), len(known))) for bank in banks]
    for world in WORLDS:
        assert feature_words.readable(*tells, world, "[CLS]") > 0.8
        assert 0.3 < feature_words.readable(*noise, world, "[CLS]") < 0.7


def test_a_selector_that_is_trained_for_longer_is_another_one(made):
    """The table's own stage is read, and a longer one made beside it."""
    out, _ = made
    before = {p.name for p in (out / "checkpoint").iterdir()}
    found = [longer_selection.found_after(out, SMALL, FULL, 1, times) for times in (1, 2)]
    assert all(set(shares) == set(WORLDS) and max(shares.values()) <= 1 for shares in found)
    made_now = {p.name for p in (out / "checkpoint").iterdir()} - before
    assert [name.split("-")[0] for name in made_now] == ["selection"]


def test_a_table_s_folder_answers_further_questions(made, monkeypatch, capsys):
    """How much pairing left unexplained, and what a model says when it may speak."""
    out, _ = made
    shop = TrainingContext.open(out, SMALL)
    monkeypatch.setattr(pairing_error, "CLIPS", 16)
    assert 0 < pairing_error.unexplained(shop, FULL) < 10
    monkeypatch.setattr(free_answers, "LONGEST_REPLY", 2)
    monkeypatch.setattr(replies, "LONGEST", 2)
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)  # it is this process's
    monkeypatch.setattr("sys.argv", ["free_answers", str(out), "none", "--seeds", "1"])
    free_answers.main()
    said = capsys.readouterr().out.splitlines()
    rows = [line.split(" | ") for line in said if line.startswith("| none")]
    of_videos = SMALL.questions * len(VIDEO_COLUMNS)
    assert [row[3] for row in rows if row[2] == "all videos"] == [str(of_videos)] * len(WORLDS)
