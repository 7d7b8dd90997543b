"""Nano's whole recipe in a few steps: every stage runs, and a run that stopped goes on where it was."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from bvllm.common.stopping import Interrupted
from bvllm.inference.ask import load_model
from bvllm.nano import alignment
from bvllm.nano.loop import Control, StageLoop
from bvllm.nano.progress import RunRecord
from bvllm.nano.train import Recipe, train_nano
from bvllm.nano.tuning import INSTRUCTION, SELECTION
from tests.test_messages import HOUSE

STAGES = tuple(
    replace(stage, steps=2, batch=2, seconds=(8, 10), told=min(stage.told, 3))
    for stage in (SELECTION, INSTRUCTION)
)
TINY = Recipe(scenes=8, tower_epochs=1, language_steps=1, alignment_steps=1, stages=STAGES, workers=1)

SILENT = Control(log=lambda line: None)


@pytest.fixture(autouse=True, scope="module")
def _fewer_questions():
    """Stems that alignment draws before its first step."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(alignment, "QUESTIONS", 32)
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp("nano")
    log = []
    train_nano(out, recipe=TINY, control=Control(log.append))
    return out, log


def weights(folder):
    return load_file(folder / "model.safetensors")


def changed(before, after):
    """The parts of the model whose weights differ."""
    assert before.keys() == after.keys()
    return {name.split(".")[1] for name in before if not torch.equal(before[name], after[name])}


@pytest.mark.slow
def test_every_stage_leaves_a_folder_and_its_mark(trained):
    out, log = trained
    done = {mark.parent.name for mark in out.glob("*/done")}
    assert done == {"tower", "language", "alignment", "selection", "instruction", "model"}
    assert log[0] == "drawing 8 scenes"


@pytest.mark.slow
def test_the_model_can_be_loaded_and_is_half_the_size(trained):
    out, _ = trained
    loaded = load_model(str(out / "model"))
    assert loaded.frame_size == (128, 128)
    assert all(torch.isfinite(tensor).all() for tensor in loaded.model.state_dict().values())
    whole, half = ((out / name / "model.safetensors").stat().st_size for name in ("instruction", "model"))
    assert half < 0.55 * whole


@pytest.mark.slow
def test_each_stage_trains_what_it_should(trained):
    out, _ = trained
    aligned, selecting, instructed = (
        weights(out / name) for name in ("alignment", "selection", "instruction")
    )
    assert changed(aligned, selecting) == set(SELECTION.trained) == {"frame_selector"}
    assert changed(selecting, instructed) == set(INSTRUCTION.trained)
    assert "vision_tower" not in INSTRUCTION.trained


@pytest.mark.slow
def test_a_run_goes_on_after_the_last_complete_stage(trained, monkeypatch):
    out, _ = trained

    def never(*args, **kwargs):
        raise AssertionError("a complete stage must not run again")

    for name in ("warm_up_tower", "warm_up_language", "align"):
        monkeypatch.setattr(f"bvllm.nano.train.{name}", never)
    before = weights(out / "selection")
    (out / "instruction" / "done").unlink()
    ran = []

    def tune(model, *_, control, **__):
        ran.append((control.folder, {name: tensor.clone() for name, tensor in model.state_dict().items()}))

    monkeypatch.setattr("bvllm.nano.train.tune", tune)
    (out / "model" / "done").unlink()
    train_nano(out, recipe=TINY, resume=True, control=SILENT)
    [(folder, state)] = ran
    assert folder == out / "instruction"
    assert all(torch.equal(tensor, state[name]) for name, tensor in before.items())
    assert (out / "instruction" / "done").is_file()


@pytest.mark.slow
def test_the_model_carries_what_it_knows(trained):
    out, _ = trained
    knowledge = load_model(str(out / "model")).knowledge
    assert "star" in knowledge.words
    assert len(knowledge.sight) == 128


@pytest.mark.slow
def test_a_finished_run_says_so_and_stays_as_it_is(trained, monkeypatch):
    out, log = trained
    monkeypatch.setattr("bvllm.nano.train.draw_pool", None)
    before = {file: file.stat().st_mtime_ns for file in out.rglob("*") if file.name != "run.json"}
    with pytest.raises(ValueError, match="must hold no run"):
        train_nano(out, recipe=TINY, control=SILENT)
    assert train_nano(out, recipe=TINY, resume=True, control=Control(log.append)) == out / "model"
    assert "the run is finished" in log[-1]
    assert before == {file: file.stat().st_mtime_ns for file in before}
    with pytest.raises(ValueError, match="a run of this recipe"):
        train_nano(out, recipe=replace(TINY, seed=9), resume=True, control=SILENT)


@pytest.mark.slow
def test_a_stopped_run_goes_on_in_the_middle_of_a_stage(tmp_path):
    """Stopped after every step of every stage, it still comes to its end, each time one step further."""
    stops, lines = 0, []
    recipe = replace(TINY, language_steps=3)
    while True:
        control = Control(lines.append)

        def tell(what, done, total, control=control):
            if what in ("language", "instruction"):
                control.stop.signal = 15

        try:
            train_nano(tmp_path, recipe=recipe, resume=stops > 0, control=replace(control, tell=tell))
            break
        except Interrupted as stopped:
            stops += 1
            assert stopped.signal == 15
            assert "--resume" in str(stopped)
            assert stops < 8
    assert stops == 4  # twice in three steps of language, once behind them, once in two of instruction
    assert "language: going on after step 2" in lines
    assert not list(tmp_path.glob("*/checkpoint.safetensors"))
    assert (tmp_path / "model" / "model.safetensors").is_file()


def test_the_time_limit_holds_for_everything(tmp_path, monkeypatch):
    """A pool that takes long leaves less for the stages."""
    given = []
    monkeypatch.setattr("bvllm.nano.progress.time.monotonic", lambda: clock[0])
    clock = [0.0]
    record = RunRecord.claim(tmp_path, TINY, 10.0, resume=False)
    with record.clocked(SILENT):
        clock[0] += 4 * 60  # the pool
        given.append(record.share(2, 8, reserved=1.0))
        clock[0] += given[-1] * 60
        given.append(record.share(2, 6, reserved=1.0))
        clock[0] += given[-1] * 60 + 60  # and encoding
        given.append(record.share(4, 4))
    assert given == pytest.approx([5 / 4, 15 / 12, 10 - 4 - 2.5 - 1])
    again = RunRecord.claim(tmp_path, TINY, None, resume=True)
    assert (again.minutes, again.spent) == (10.0, pytest.approx(7.5))
    with pytest.raises(ValueError, match="started with"):
        RunRecord.claim(tmp_path, TINY, 11.0, resume=True)


@pytest.mark.parametrize("spoilt", [b"", b"{}", b"nonsense"])
def test_a_spoilt_checkpoint_or_record_is_named(tmp_path, spoilt):
    (tmp_path / "run.json").write_bytes(spoilt)
    with pytest.raises(ValueError, match=r"run\.json"):
        RunRecord.claim(tmp_path, TINY, None, resume=True)
    (tmp_path / "checkpoint.safetensors").write_bytes(spoilt)
    limits = {"steps": 1, "minutes": 1, "lr": 0.1, "warmup": 1, "decay": 0.0, "seed": 0}
    with pytest.raises(ValueError, match=r"checkpoint\.safetensors"):
        StageLoop("toy", [torch.nn.Parameter(torch.ones(1))], **limits, control=SILENT.within(tmp_path))


def test_a_recipe_within_a_time():
    half = Recipe().within(Recipe().minutes / 2)
    assert half.minutes == pytest.approx(Recipe().minutes / 2)
    assert half.scenes == Recipe().scenes // 2
    assert [s.minutes for s in half.stages] == pytest.approx([s.minutes / 2 for s in Recipe().stages])
    assert Recipe().within(0.1).scenes == 20
    assert Recipe().within(1e6).scenes == Recipe().scenes


@pytest.mark.parametrize("minutes", [0, -1, float("nan")])
def test_no_time_at_all_is_refused(minutes, tmp_path):
    with pytest.raises(ValueError, match=HOUSE.pattern):
        train_nano(tmp_path / "out", minutes=minutes)
    assert not (tmp_path / "out").exists()
