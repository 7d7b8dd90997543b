"""Nano's whole recipe in a few steps: every stage runs, and a run that stopped goes on where it was."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from bvllm.inference.ask import load_model
from bvllm.nano import alignment
from bvllm.nano.train import Recipe, train_nano
from bvllm.nano.tuning import INSTRUCTION, SELECTION
from tests.test_messages import HOUSE

STAGES = tuple(
    replace(stage, steps=2, batch=2, seconds=(8, 10), told=min(stage.told, 3))
    for stage in (SELECTION, INSTRUCTION)
)
TINY = Recipe(scenes=8, tower_epochs=1, language_steps=1, alignment_steps=1, stages=STAGES, workers=1)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp("nano")
    log = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(alignment, "QUESTIONS", 32)
        train_nano(out, recipe=TINY, log=log.append)
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
    assert done == {"tower", "language", "alignment", "selection", "instruction"}
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

    def tune(model, *_, checkpoint, **__):
        ran.append((checkpoint, {name: tensor.clone() for name, tensor in model.state_dict().items()}))

    monkeypatch.setattr("bvllm.nano.train.tune", tune)
    train_nano(out, recipe=TINY, resume=True, log=lambda line: None)
    [(folder, state)] = ran
    assert folder == out / "instruction"
    assert all(torch.equal(tensor, state[name]) for name, tensor in before.items())
    assert (out / "instruction" / "done").is_file()


def test_a_fresh_run_forgets_the_marks_of_an_old_one(tmp_path, monkeypatch):
    (tmp_path / "language").mkdir()
    (tmp_path / "language" / "done").touch()

    def stop(*args, **kwargs):
        raise RuntimeError("stopped")

    monkeypatch.setattr("bvllm.nano.train.draw_pool", stop)
    with pytest.raises(RuntimeError, match="stopped"):
        train_nano(tmp_path, recipe=TINY, resume=True, log=lambda line: None)
    assert (tmp_path / "language" / "done").is_file()
    with pytest.raises(RuntimeError, match="stopped"):
        train_nano(tmp_path, recipe=TINY, log=lambda line: None)
    assert not (tmp_path / "language" / "done").exists()


def test_a_recipe_within_a_time():
    half = Recipe().within(_minutes(Recipe()) / 2)
    assert _minutes(half) == pytest.approx(_minutes(Recipe()) / 2)
    assert half.scenes == Recipe().scenes // 2
    assert [s.minutes for s in half.stages] == pytest.approx([s.minutes / 2 for s in Recipe().stages])
    assert Recipe().within(0.1).scenes == 20
    assert Recipe().within(1e6).scenes == Recipe().scenes


def _minutes(recipe):
    stages = sum(stage.minutes for stage in recipe.stages)
    return recipe.tower_minutes + recipe.language_minutes + recipe.alignment_minutes + stages


@pytest.mark.parametrize("minutes", [0, -1, float("nan")])
def test_no_time_at_all_is_refused(minutes, tmp_path):
    with pytest.raises(ValueError, match=HOUSE.pattern):
        train_nano(tmp_path / "out", minutes=minutes)
    assert not (tmp_path / "out").exists()
