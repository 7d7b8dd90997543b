"""Fewer queries of one trained model, and the picture of what they are worth."""

from pathlib import Path

import pytest
import torch

from bvllm.evaluation.evaluate import Share
from bvllm.inference.loading import load_model
from experiments.nano_balance import FRAMES, TOKENS, Measured, draw, read, to_json
from experiments.reproduction.at_inference import fewer


@pytest.fixture(scope="module")
def figures() -> Measured:
    right = [k * r % 7 < 4 for k in range(1, 5) for r in range(1, 5)]
    return {(k, r): (Share.of(right[: k + r]), float(k * r)) for k in FRAMES for r in TOKENS}


def test_fewer_queries_are_some_of_the_trained_ones_in_their_order_and_the_trained_model_stays() -> None:
    model = load_model("nano").model
    before = model.model.token_sampler.reader.queries.weight.clone()
    made = fewer(model, 4, 2)
    kept = made.model.token_sampler.reader.queries.weight
    places = [int((before == row).all(dim=1).nonzero()) for row in kept]
    assert places == sorted(places)
    assert len(places) == 2
    assert len(made.model.frame_selector.reader.queries.weight) == 4
    assert (made.config.num_selected_frames, made.config.tokens_per_frame) == (4, 2)
    assert torch.equal(model.model.token_sampler.reader.queries.weight, before)
    assert model.config.tokens_per_frame == len(before)


def test_figures_are_read_as_they_were_written(figures: Measured) -> None:
    assert read(to_json(figures)) == figures


def test_the_picture_has_a_line_for_each_r_and_for_each_limit(tmp_path: Path, figures: Measured) -> None:
    pytest.importorskip("matplotlib")
    draw(figures, tmp_path / "balance.svg")
    drawn = (tmp_path / "balance.svg").read_text()
    assert all(f"<!-- R = {r} -->" in drawn for r in TOKENS)
    assert all(f"<!-- L* R = {theta} -->" in drawn for theta in (8, 16, 32))
