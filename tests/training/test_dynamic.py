"""Dynamic-VLM's stages through the one training path: the plan, three stages, counts that are drawn."""

import json
import os
import signal

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from bvllm.cli import main
from bvllm.common.stopping import Interrupted
from bvllm.data.budget import FrameShare, RandomFrameTokens
from bvllm.data.collate import Collator
from bvllm.data.dialogue import Dialogue, Media, Turn
from bvllm.data.encode import Encoder, Example
from bvllm.data.readers import RowFile
from bvllm.inference.dynamic import LoadedDynamic
from bvllm.inference.loading import load_model
from bvllm.stages.frame_grids import Grid
from bvllm.training.checks import check_settings
from bvllm.training.dynamic_build import build_dynamic
from bvllm.training.dynamic_settings import DYNAMIC_RECIPES
from bvllm.training.rows import random_frame_tokens
from bvllm.training.run import train
from bvllm.training.settings import override
from bvllm.training.snapshot import WEIGHTS
from bvllm.training.trainable import prepare
from tests.test_messages import HOUSE
from tests.training.rows import write_rows


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """Four rows: two with a picture, one with two, one of text alone."""
    folder = tmp_path_factory.mktemp("rows")
    for name in ("a", "b"):
        Image.new("RGB", (20, 20), "red" if name == "a" else "blue").save(folder / f"{name}.png")
    said = [
        {"id": str(k), "conversations": [
            {"from": "human", "value": "<image>\n" * count + "which colour?"},
            {"from": "gpt", "value": "red"},
        ], **({"image": ["a.png", "b.png"][:count]} if count else {})}
        for k, count in enumerate((1, 1, 2, 0))
    ]  # fmt: skip
    (folder / "rows.json").write_text(json.dumps(said))
    return folder / "rows.json"


@pytest.fixture(scope="module")
def settings(rows):
    data = [f"data.{name}={rows}" for name in ("pretrain", "image", "video")]
    few = [
        f"{stage}.{word}"
        for stage in ("projector", "captions", "images", "videos")
        for word in ("batch=2", "max_steps=1", "warmup=0")
    ]
    return override(DYNAMIC_RECIPES["dynamic_tiny"](), [*data, *few, "run.per_device=2", "run.save_every=1"])


def test_the_paper_is_planned_with_its_rates_and_budgets(rows, capsys):
    data = [f"data.{name}={rows}" for name in ("pretrain", "image", "video")]
    assert main(["train", "dynamic_7b", *data, "--dry-run", "--processes", "8"]) == 0
    out = capsys.readouterr().out
    assert "projector: 16.5 million weights learn of 7.94 billion" in out
    assert "vision_tower 304 million, multi_modal_projector 16.5 million, language_model 7.62 billion" in out
    assert out.count("  learning rate multi_modal_projector 0.001\n") == 1
    assert out.count("vision_tower 4e-06, multi_modal_projector 2e-05, language_model 2e-05") == 3
    assert (
        "a row: at most 16384 tokens, of them 12000 visual; a frame's drawn in each step, by side, "
        "from 16 to 576 or its share of these"
    ) in out
    assert "a video: at most 256 frames at 1 a second" in out
    assert "patch features" not in out  # no frame is chosen, so no patches wait for a choice
    paper = {name: DYNAMIC_RECIPES[name]() for name in ("dynamic_7b", "dynamic_14b")}
    assert [one.model.budget_tokens for one in paper.values()] == [12_000, 10_000]
    assert {(s.own.lr, s.own.rates.vision_tower) for s in paper["dynamic_7b"].stages[1:]} == {(2e-5, 4e-6)}
    assert paper["dynamic_7b"].data.max_tokens == 16_384


def test_every_stage_runs_and_leaves_a_model_that_is_asked(settings, tmp_path):
    folder = train(settings, tmp_path / "run", log=lambda line: None)
    loaded = load_model(str(folder))
    assert isinstance(loaded, LoadedDynamic)
    first, last = (load_file(tmp_path / "run" / s / "result" / WEIGHTS) for s in ("projector", "videos"))
    assert {name.split(".")[1] for name in first if "lm_head" not in name} >= {"multi_modal_projector"}
    assert not any(torch.equal(first[n], last[n]) for n in first if n.endswith("linear_2.weight"))
    assert train(settings, tmp_path / "run", resume=True, log=lambda line: None) == folder


def test_a_run_on_videos_that_was_stopped_in_every_stage_ends_as_one_left_alone(settings, tmp_path):
    """Videos, pictures and text alone, counts that are drawn in every step."""
    file = write_rows(tmp_path)
    words = [f"data.{name}={file}" for name in ("pretrain", "image", "video")]
    words += [f"{stage}.max_steps=2" for stage in ("projector", "captions", "images", "videos")]
    settings = override(settings, [*words, "run.print_every=1", "model.clock=true"])
    train(settings, tmp_path / "whole", log=lambda line: None)
    sent = []

    def ask(line):
        if line.split(" ")[1:2] == ["1/2"] and line not in sent:
            sent.append(line)
            os.kill(os.getpid(), signal.SIGTERM)

    for _ in settings.stages:
        with pytest.raises(Interrupted, match="--resume"):
            train(settings, tmp_path / "stopped", resume=True, log=ask)
    train(settings, tmp_path / "stopped", resume=True, log=ask)
    assert len(sent) == 4
    kept = [f"{s.name}/{f}" for s in settings.stages for f in ("losses.jsonl", f"result/{WEIGHTS}")]
    for file in kept:
        one, other = (tmp_path / run / file for run in ("whole", "stopped"))
        assert one.read_bytes() == other.read_bytes(), file
    first, last = (load_file(tmp_path / "whole" / s / "result" / WEIGHTS) for s in ("captions", "videos"))
    clock = [name for name in last if ".clock." in name]
    assert any(not torch.equal(first[name], last[name]) for name in clock)


def test_a_row_has_grids_for_its_frames_and_as_many_placeholders(settings, rows):
    built = build_dynamic(settings)
    encoder = Encoder(built.processor, max_tokens=500)
    file = RowFile(str(rows))
    two: list[Example] = [encoder(file[k], each) for k in (0, 2) for each in (1, 4)]
    assert [[g.cells for g in e.grids] for e in two] == [[1], [4], [1, 1], [4, 4]]
    for example in two:
        assert int((example.input_ids == built.processor.video_token_id).sum()) == sum(
            g.cells for g in example.grids
        )
    batch = Collator(built.processor)([two[1], encoder(file[3])])
    assert batch["video_grids"].tolist() == [[2, 2]]
    assert "qformer_input_ids" not in batch
    assert built.model(**batch).loss.isfinite()


def test_counts_are_drawn_by_the_step_alone_and_meet_the_native_grid():
    draw, again = RandomFrameTokens(16, Grid(24, 24), 3), RandomFrameTokens(16, Grid(24, 24), 3)
    counts = [draw.at(k).of(576) for k in range(400)]
    assert counts == [again.at(k).of(576) for k in range(400)]
    assert 16 <= min(counts) < 25
    assert 400 / 40 < counts.count(576) < 400 / 10  # one side of 21
    even = [RandomFrameTokens(16, Grid(24, 24), 3, by_side=False).at(k).of(576) for k in range(400)]
    assert even.count(576) < 5
    with pytest.raises(ValueError, match=r"fewest must lie in 1\.\.576") as error:
        RandomFrameTokens(600, Grid(24, 24))
    assert HOUSE.search(str(error.value))


@pytest.mark.parametrize("by_side", [True, False])
@pytest.mark.parametrize("most", [9, 46, 300, 576])
def test_counts_of_a_long_video_are_drawn_below_its_bound_not_cut_to_it(by_side, most):
    """The paper draws in [16, min(N_max / T, 576)]: 46 is what 256 frames have of 12 000."""
    draw = RandomFrameTokens(16, Grid(24, 24), by_side=by_side)
    counts = [draw.at(k).of(most) for k in range(2000)]
    assert (min(counts), max(counts)) == (min(16, most), most)
    if most == 46:
        assert counts.count(most) < 0.1 * 2000
        assert len(set(counts)) == 46 - 16 + 1
        if not by_side:
            assert 28 < sum(counts) / 2000 < 34  # the middle is 31


@pytest.mark.parametrize("native", [Grid(8, 8), Grid(6, 4), Grid(27, 27)])
def test_draws_of_every_tower_stay_within_it(native):
    for most in (1, 2, 5, native.cells - 1, native.cells, 10_000):
        for by_side in (True, False):
            for share in (0.0, 0.3, 0.999999):
                count = FrameShare(share, min(2, native.cells), native, by_side).of(most)
                assert 1 <= count <= min(most, native.cells)
        assert FrameShare(0.999999, 2, native).of(most) == min(most, native.cells)


def test_the_fewest_tokens_are_scaled_to_the_towers_grid(settings):
    """16 of 576 patches, as the paper has them, are 2 of 64, and never none."""
    given = override(settings, ["data.random_tokens=16"])
    for native, fewest in ((Grid(24, 24), 16), (Grid(8, 8), 2), (Grid(2, 2), 1), (Grid(27, 27), 20)):
        draw = random_frame_tokens(given, native)
        assert draw.fewest == fewest


def test_a_draw_counts_the_frames_that_are_kept(settings, rows):
    """A video of 40 frames is thinned to 16: a draw of two tokens each gives 32, not 80."""
    encoder = Encoder(build_dynamic(settings).processor)
    assert encoder.processor.max_frames == 16
    video = Media("video", (rows.parent / "a.png",) * 40, rows.parent)
    row = Dialogue("x", (Turn("user", (video, "which colour?")), Turn("assistant", ("red",))), "row")
    native = Grid(*encoder.processor.native_grid)
    highest = FrameShare(0.999999, 1, native)
    encoder.processor.budget_tokens = 640
    assert 0.95 * 32 <= _spent(encoder(row, 2)) <= 32
    assert _spent(encoder(row, highest)) == 16 * native.cells
    encoder.processor.budget_tokens = 32  # has two for each of 16 frames
    assert 0.95 * 32 <= _spent(encoder(row, highest)) <= 32
    assert _spent(encoder(row, FrameShare(0.0, 1, native))) == 16


def _spent(example):
    return sum(grid.cells for grid in example.grids)


def test_a_clock_learns_with_the_language_model(settings):
    """A clock begins as zeros that stay zeros for ever where no stage trains it."""
    timed = override(settings, ["model.clock=true"])
    model = build_dynamic(timed).model
    learned = []
    for one in timed.stages:
        prepare(model, one.own, seed=0)
        learned.append({n.split(".")[1] for n, p in model.named_parameters() if p.requires_grad})
    assert [("clock" in names, "language_model" in names) for names in learned] == [
        (False, False), (True, True), (True, True), (True, True)
    ]  # fmt: skip


@pytest.mark.parametrize(
    "words, said",
    [
        ("data.video=", "data.video must name a file of rows"),
        ("data.random_tokens=0", "data.random_tokens must be at least 1"),
        ("model.vision=somewhere", "model.vision and model.language_model must be given together"),
        ("images.lora_rank=4", "images.lora_rank must be 0"),
        ("data.random_budget=4", "data.random_budget must be left out"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(words, said, settings):
    with pytest.raises(ValueError, match=said) as error:
        check_settings(override(settings, [words]))
    assert HOUSE.search(str(error.value))
