"""Ablations: each swaps what it says and nothing else, and costs what the swapped part was worth."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import bvllm.evaluation.evaluate as module
from bvllm.common.text import Question
from bvllm.evaluation.ablate import ABLATIONS, ablated, check_ablations, one_frame, shuffled_time
from bvllm.evaluation.evaluate import Loss, Report, Scored, evaluate
from bvllm.inference.ask import answer, encode_video
from bvllm.inference.model import VideoModel
from bvllm.methods.names import OWN
from bvllm.stages.patch_signals import PatchSignals
from bvllm.stages.pipeline import frames_needed
from bvllm.types import Budget
from tests.model import tiny

QUESTION = "which colour is the sign ?"
EVERYWHERE = [name for name in ABLATIONS if name != "other-scores"]  # no part of this model scores patches


@pytest.fixture(scope="module")
def encoded(video, loaded):
    return encode_video(video, loaded)


@torch.inference_mode()
def seen(encoded, model, question=QUESTION):
    """The frames, the times and the tokens that the language model gets."""
    asked = model.read(Question(question))
    selection = model.select(encoded.frame_features, encoded.seconds, asked, Budget(40, 4), OWN)
    patches = model.patch_features(encoded.store.get(frames_needed(selection).tolist()))
    return selection, model.reduce(patches, selection, asked, Budget(40, 4), OWN)


def swapped(name, loaded, other="red"):
    return ablated(name, loaded, loaded.read(Question(other)))


def test_copies_are_the_first_token_of_each_frame(encoded, loaded):
    _, own = seen(encoded, loaded)
    _, found = seen(encoded, swapped("token-copies", loaded))
    frames = own.tokens[0].frame
    assert found.lengths == own.lengths
    for frame in frames.unique():
        rows = found.pooler_output[0][frames == frame]
        assert torch.equal(rows, own.pooler_output[0][frames == frame][:1].expand_as(rows))
    assert not torch.equal(found.pooler_output[0], own.pooler_output[0])


def test_blind_is_zeros_and_as_many(encoded, loaded):
    _, own = seen(encoded, loaded)
    _, found = seen(encoded, swapped("blind", loaded))
    assert found.pooler_output[0].shape == own.pooler_output[0].shape
    assert not found.pooler_output[0].any()


def test_another_question_changes_the_tokens_and_not_the_frames(encoded, loaded):
    selection, own = seen(encoded, loaded)
    other, found = seen(encoded, swapped("other-question", loaded))
    assert torch.equal(other.frames, selection.frames)
    assert not torch.equal(found.pooler_output[0], own.pooler_output[0])
    _, same = seen(encoded, swapped("other-question", loaded, QUESTION))
    assert torch.equal(same.pooler_output[0], own.pooler_output[0])


def test_one_frame_is_the_surest(encoded, loaded):
    selection, _ = seen(encoded, loaded)
    assert len(selection) > 1
    alone, found = seen(encoded, swapped("single-frame", loaded))
    assert alone.frames.tolist() == [int(selection.frames[selection.scores.argmax()])]
    assert set(found.tokens[0].frame.tolist()) == set(alone.frames.tolist())
    assert torch.equal(one_frame(alone).frames, alone.frames)


def test_shuffled_frames_keep_the_times_and_trade_places(encoded, loaded):
    selection, own = seen(encoded, loaded)
    mixed_up, found = seen(encoded, swapped("shuffled-time", loaded))
    assert torch.equal(mixed_up.seconds, selection.seconds)
    assert sorted(mixed_up.frames.tolist()) == selection.frames.tolist()
    assert mixed_up.frames.tolist() != selection.frames.tolist()
    assert torch.equal(found.tokens[0].seconds.unique(), own.tokens[0].seconds.unique())
    again = shuffled_time(selection)
    assert torch.equal(again.frames, mixed_up.frames), "the same every time"


def test_copies_of_a_frame_are_the_first_at_the_others_times(encoded, loaded):
    _, own = seen(encoded, loaded)
    _, found = seen(encoded, swapped("frame-copies", loaded))
    assert torch.equal(found.tokens[0].seconds.unique(), own.tokens[0].seconds.unique())
    first, *others = (
        found.tokens[0].features[found.tokens[0].frame == k] for k in own.tokens[0].frame.unique()
    )
    assert others
    assert all(torch.equal(other, first) for other in others if len(other) == len(first))
    assert not torch.equal(found.pooler_output[0], own.pooler_output[0])


def test_attention_of_the_frame_before_is_handed_on(encoded, loaded):
    class Reads:
        name, given = "reads", []

        def reduce(self, patches, selection, asked, budget, methods, seen):
            self.given.append((patches, seen))

    patches, attention = torch.rand(3, 4, 2), torch.rand(3, 4)
    model = swapped("other-scores", loaded)
    model = replace(model, loaded=Reads())
    model.reduce(patches, None, None, Budget(4), OWN, PatchSignals(attention))
    [(same, seen)] = Reads.given
    assert torch.equal(same, patches)
    assert torch.equal(seen.attention, attention[[2, 0, 1]])
    assert seen.keys is None
    with pytest.raises(ValueError, match="nothing scores the patches"):
        answer(encoded, QUESTION, swapped("other-scores", loaded))


@pytest.mark.parametrize("name", EVERYWHERE)
def test_a_swapped_model_is_asked_as_any_other(encoded, loaded, name):
    model: VideoModel = swapped(name, loaded)
    found = answer(encoded, QUESTION, model, options=["red", "blue"])
    assert found.letter in "AB"
    assert found == answer(encoded, QUESTION, model, options=["red", "blue"])


def test_losses_are_paired_and_cut_by_task():
    rows = [
        Scored(
            str(k), "colour" if k < 6 else "when", 5.0, True, None, None, None, 1, "", {"blind": k % 2 == 0}
        )
        for k in range(8)
    ]
    report = Report(tuple(rows), {})
    [loss] = report.losses().values()
    assert loss.overall.mean == 0.5
    assert loss.overall.low < 0.5 < loss.overall.high
    assert (loss.by_task["colour"].mean, loss.by_task["when"].count) == (0.5, 2)
    assert "| | blind |" in report.table()
    assert report.as_json()["losses"]["blind"]["overall"]["mean"] == 0.5
    plain = Report((Scored("a", "colour", 5.0, True, None, None, None, 1, ""),), {})
    assert "swapped" not in plain.table()


def test_intervals_of_pairs_by_hand():
    """Pairs that agree narrow the interval, none that differs leaves some of it, and it ends within -1..1."""
    pairs = [(True, True)] * 32 + [(True, False)] * 4 + [(False, True)] * 8 + [(False, False)] * 6
    loss = Loss.of(pairs)
    assert loss.mean == pytest.approx(-0.08)
    assert loss.low < -0.08 < loss.high
    alone = Loss.of([(True, True)] * 40 + [(True, False)] * 10)
    assert (alone.mean, alone.count) == (pytest.approx(0.2), 50)
    assert 0.05 < alone.low < 0.2 < alone.high < 0.4
    assert Loss.of([(True, False)] * 5).high == pytest.approx(1.0)
    none = Loss.of([(True, True)] * 95)
    assert -0.05 < none.low <= 0 <= none.high < 0.05
    assert Loss.of([]).count == 0


def test_unknown_names_are_refused_before_anything_is_loaded(tmp_path, monkeypatch):
    assert check_ablations(["blind", "blind"]) == ("blind",)
    monkeypatch.setattr(module, "load_model", None)
    monkeypatch.setattr(
        module, "task_of", lambda name: type("Task", (), {"read": staticmethod(lambda *_: [])})
    )
    with pytest.raises(ValueError, match="did you mean 'token-copies'"):
        evaluate(Path(tmp_path), ablations=["token-copy"])


def test_an_evaluation_with_ablations(video, tmp_path):
    tiny.model().save_pretrained(tmp_path / "model")
    tiny.processor().save_pretrained(tmp_path / "model")
    (tmp_path / "v.mp4").write_bytes(video.read_bytes())
    row = {
        "video": "v.mp4", "seconds": 10, "split": "test", "task": "colour", "options": ["red", "blue"],
        "answer": "A", "open_answer": "red", "needles": [], "messages": [],
    }  # fmt: skip
    words = enumerate(("red", "blue", "green"))
    rows = [json.dumps({"id": str(k), "question": f"{word} ?", **row}) for k, word in words]
    (tmp_path / "test.jsonl").write_text("\n".join(rows))
    report = evaluate(
        tmp_path / "test.jsonl", model=str(tmp_path / "model"), circular=False, ablations=EVERYWHERE
    )
    assert [set(row.ablated) for row in report.rows] == [set(EVERYWHERE)] * 3
    assert set(report.losses()) == set(EVERYWHERE)
