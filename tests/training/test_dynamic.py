"""Dynamic-VLM's stages through the one training path: the plan, three stages, counts that are drawn."""

import json

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from bvllm.cli import main
from bvllm.data.budget import RandomFrameTokens
from bvllm.data.collate import Collator
from bvllm.data.encode import Encoder, Example
from bvllm.data.readers import RowFile
from bvllm.inference.dynamic import LoadedDynamic
from bvllm.inference.loading import load_model
from bvllm.stages.frame_grids import Grid
from bvllm.training.checks import check_settings
from bvllm.training.dynamic_build import build_dynamic
from bvllm.training.dynamic_settings import DYNAMIC_RECIPES
from bvllm.training.run import train
from bvllm.training.settings import override
from bvllm.training.snapshot import WEIGHTS
from tests.test_messages import HOUSE


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
    counts = [draw.at(k) for k in range(400)]
    assert counts == [again.at(k) for k in range(400)]
    assert 16 <= min(counts) < 25
    assert 400 / 40 < counts.count(576) < 400 / 10  # one side of 21
    even = [RandomFrameTokens(16, Grid(24, 24), 3, by_side=False).at(k) for k in range(400)]
    assert even.count(576) < 5
    with pytest.raises(ValueError, match=r"fewest must lie in 1\.\.576") as error:
        RandomFrameTokens(600, Grid(24, 24))
    assert HOUSE.search(str(error.value))


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
