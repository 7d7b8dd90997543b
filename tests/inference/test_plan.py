"""A plan counts what sampling and the model then give."""

import json

import pytest

from bvllm.inference.ask import encode_video
from bvllm.inference.loading import ModelError
from bvllm.inference.plan import plan_json, plan_question, plan_text
from bvllm.types import Budget
from bvllm.video import SamplingPlan, VideoError, read_video
from tests.model import tiny
from tests.video import make


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """A configuration without weights: a plan reads none."""
    folder = tmp_path_factory.mktemp("shape")
    tiny.config().save_pretrained(folder)
    return str(folder)


@pytest.fixture
def plan(video, model):
    return plan_question(video, model=model)


def test_frames_and_what_they_take_are_those_of_the_real_run(plan, video, loaded):
    encoded = encode_video(video, loaded)
    assert plan.frames == len(encoded)
    assert plan.feature_bytes == encoded.frame_features.nbytes
    assert plan.frame_bytes == len(encoded) * 3 * 16 * 16
    assert plan.packets == encoded.report.decoded
    assert plan.packets_needed <= plan.packets
    assert (plan.patches_per_frame, plan.frames_chosen, plan.tokens) == (16, 4, 10)
    assert plan.weight_bytes == 4 * sum(p.numel() for p in loaded.model.parameters())


@pytest.mark.parametrize("fps", [0.3, 1.0, 3.7, 10.0])
@pytest.mark.parametrize(
    "times", [None, [0, 1, 2, 30, 31, 75], [0, 9, 10, 19, 20, 29]], ids=["even", "gaps", "beside targets"]
)
def test_the_count_of_frames_is_exact(tmp_path, model, times, fps):
    path = tmp_path / "video.mp4"
    path.write_bytes(make.video(len(times) if times else 30, times=times))
    with read_video(path, SamplingPlan(fps=fps)) as stream:
        got = sum(len(chunk) for chunk in stream)
    assert plan_question(path, model=model, fps=fps).frames == got


def test_the_budget_and_the_model_bound_what_is_spent(video, model):
    assert plan_question(video, model=model, budget=Budget(3, 2)).tokens == 3
    assert plan_question(video, model=model, budget=Budget(512, 2)).frames_chosen == 2
    assert plan_question(video, model=model, fps=0.05).frames_chosen == 2


def test_the_text_says_what_is_an_estimate_and_json_too(plan):
    text = plan_text(plan)
    assert [line.split()[0] for line in text.splitlines()[1:7]] == [
        "frames", "decode", "patches", "tokens", "prefill", "memory",
    ]  # fmt: skip
    assert "memory is an estimate" in text
    found = json.loads(json.dumps(plan_json(plan)))
    assert found["estimated"] == ["memory_bytes"]


def test_what_cannot_be_planned_for(tmp_path, video, model):
    with pytest.raises(VideoError):
        plan_question(tmp_path / "none.mp4", model=model)
    with pytest.raises(ValueError, match="fps must be positive"):
        plan_question(video, model=model, fps=0.0)
    (tmp_path / "config.json").write_text('{"model_type": "bvllm"')
    with pytest.raises(ModelError, match="cannot be planned for"):
        plan_question(video, model=str(tmp_path))
