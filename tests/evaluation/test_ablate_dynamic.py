"""Ablations of a Dynamic-VLM: on one made by hand, each costs exactly what is known beforehand."""

import json
from contextlib import closing

import pytest
import torch

import bvllm.evaluation.evaluate as module
from bvllm.common.text import Question
from bvllm.evaluation.ablate import ABLATIONS, SEED, ablated
from bvllm.evaluation.evaluate import evaluate
from bvllm.evaluation.tasks.base import Item
from bvllm.inference.ask import answer, encode_video
from bvllm.stages.pipeline import frames_needed
from bvllm.types import Budget, FrameSelection
from bvllm.video import FrameList
from tests.evaluation.hand_made import COLOURS, HandMade, scene
from tests.model.dynamic.tiny_dynamic import dynamic_model, dynamic_processor
from tests.test_messages import HOUSE

SEEN, PLACES = "rgbrrgbg", "01223310"
CLIP = FrameList(scene(SEEN, PLACES), [float(k) for k in range(len(SEEN))])
LETTER = dict(zip("rgb", COLOURS))
WHEN = [
    Item(f"at {k}", CLIP, 8.0, f"colour at {k} s", COLOURS, "rgb".index(letter), "when")
    for k, letter in enumerate(SEEN)
]
COUNTS = tuple(map(str, range(8)))
MANY = [
    Item(f"many {word}", CLIP, 8.0, f"frames that are {word}", COUNTS, SEEN.count(word[0]), "count")
    for word in COLOURS
]


@pytest.fixture(scope="module")
def losses():
    """Points lost by each swap, by task: one token a frame, so that scores decide what is seen."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            module, "task_of", lambda _: type("T", (), {"read": staticmethod(lambda *_: WHEN + MANY)})
        )
        report = evaluate(None, model=HandMade(), tokens=len(SEEN), circular=False, ablations=list(ABLATIONS))
    assert report.figures()["accuracy"].overall.mean == 1
    return {
        name: {task: loss.mean for task, loss in found.by_task.items()}
        for name, found in report.losses().items()
    }


def still_right(seen: list[str]) -> float:
    """The share of "colour at" questions that are lost where these colours are seen; "-" makes it say red."""
    return sum(own != (other if other != "-" else "r") for own, other in zip(SEEN, seen)) / len(SEEN)


def test_each_swap_costs_what_is_known_beforehand(losses):
    order = torch.randperm(len(SEEN), generator=torch.Generator().manual_seed(SEED)).tolist()
    kept = [SEEN[k] if PLACES[k] == PLACES[k - 1] else "-" for k in range(len(SEEN))]
    assert losses["blind"] == {"when": still_right("-" * 8), "count": 1.0}
    assert losses["frame-copies"] == {"when": still_right("r" * 8), "count": 1.0}
    assert losses["shuffled-time"] == {"when": still_right([SEEN[k] for k in order]), "count": 0.0}
    assert losses["other-scores"] == {"when": still_right(kept), "count": 1.0}
    assert 0 < losses["other-scores"]["when"] < losses["blind"]["when"]  # three frames keep their place
    assert losses["single-frame"] == {"when": still_right("r-------"), "count": 1.0}


def test_what_nothing_reads_costs_nothing(losses):
    assert losses["other-question"] == {"when": 0.0, "count": 0.0}
    assert losses["token-copies"] == {"when": 0.0, "count": 0.0}  # a frame has one token here


def test_no_scores_no_swap_of_them():
    model = HandMade("pool")
    swapped = ablated("other-scores", model, model.read(Question("which?")))
    with (
        closing(encode_video(CLIP, model)) as encoded,
        pytest.raises(ValueError, match="goes by att") as error,
    ):
        answer(encoded, "colour at 1 s", swapped, options=COLOURS)
    assert HOUSE.search(str(error.value))


@pytest.mark.parametrize("rows", [[[1, 0], [1, 0], [0, 1]], [[0, 1], [1, 0]], [[0.25, 0.75], [1, 0]]])
def test_frames_that_stand_twice_out_of_order_or_mixed_are_streamed_row_by_row(rows, monkeypatch):
    model = HandMade()
    weights = torch.nn.functional.pad(torch.tensor(rows, dtype=torch.float32), (0, len(SEEN) - 2))
    count = len(weights)
    chosen = FrameSelection(
        weights,
        weights.argmax(dim=1),
        torch.arange(float(count)),
        torch.ones(count),
        torch.ones(count),
        weights,
    )
    monkeypatch.setattr(HandMade, "select", lambda *_: chosen)
    with closing(encode_video(CLIP, model)) as encoded:
        found = answer(encoded, "colour at 0 s", model, options=COLOURS, budget=Budget(3, 8))
        patches = model.patch_features(encoded.store.get(frames_needed(chosen).tolist()))
    whole = model.reduce(patches, chosen, model.read(Question("colour at 0 s")), Budget(3, 8))
    torch.testing.assert_close(found.visual.pooler_output[0], whole.pooler_output[0])


def test_the_command_swaps_the_parts_of_a_real_one(tmp_path, video):
    model = dynamic_model(compressor="prune")
    model.save_pretrained(tmp_path / "model")
    dynamic_processor(model).save_pretrained(tmp_path / "model")
    (tmp_path / "v.mp4").write_bytes(video.read_bytes())
    row = {
        "id": "0", "question": "red ?", "video": "v.mp4", "seconds": 10, "split": "test", "task": "colour",
        "options": ["red", "blue"], "answer": "A", "open_answer": "red", "needles": [], "messages": [],
    }  # fmt: skip
    (tmp_path / "test.jsonl").write_text(json.dumps(row))
    report = evaluate(
        tmp_path / "test.jsonl", model=str(tmp_path / "model"), circular=False, ablations=list(ABLATIONS)
    )
    assert set(report.losses()) == set(ABLATIONS)
