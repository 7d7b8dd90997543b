"""The nouns check themselves, and follow a plan as one."""

import dataclasses

import pytest
import torch

from bvllm.primitives.assignment import Assignment
from bvllm.types import Budget, Clip, FrameSelection, Tokens


def a_clip(frames=3, patches=4, channels=2):
    return Clip.of(torch.randn(frames, patches, channels), torch.arange(frames) * 2.0)


def a_selection(**changes):
    parts = {
        "weights": torch.eye(2, 5),
        "frames": torch.arange(2),
        "seconds": torch.arange(2.0),
        "size": torch.ones(2),
        "scores": torch.ones(2),
        "logits": torch.zeros(4, 5),
    }
    return FrameSelection(**{**parts, **changes})


def some_tokens(**changes):
    parts = {
        "features": torch.zeros(3, 2),
        "seconds": torch.zeros(3),
        "size": torch.ones(3),
        "frame": torch.zeros(3, dtype=torch.long),
        "row": torch.zeros(3, dtype=torch.long),
        "column": torch.zeros(3, dtype=torch.long),
    }
    return Tokens(**{**parts, **changes})


def test_a_clip_becomes_tokens_in_reading_order():
    clip = a_clip()
    tokens = clip.tokens()
    assert tokens.frame.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert tokens.seconds.tolist() == [0.0] * 4 + [2.0] * 4 + [4.0] * 4
    assert tokens.row.tolist() == [0, 0, 1, 1] * 3
    assert tokens.column.tolist() == [0, 1, 0, 1] * 3
    assert torch.equal(tokens.features[5], clip.features[1, 1])


def test_the_grid_of_a_clip():
    assert a_clip(patches=6).columns == 6
    assert a_clip(patches=9).columns == 3
    assert a_clip(patches=6).tokens(columns=3).row.tolist()[:6] == [0, 0, 0, 1, 1, 1]


def test_tokens_keep_the_place_of_their_anchor_and_add_up_sizes():
    tokens = a_clip().tokens()
    reduced = tokens.reduce(Assignment.merge(torch.tensor([3, 3, 3, 3, *range(4, 12)])))
    assert reduced.size.tolist() == [4.0] + [1.0] * 8
    assert (reduced.frame[0], reduced.row[0], reduced.column[0], reduced.seconds[0]) == (0, 1, 1, 0.0)
    torch.testing.assert_close(reduced.features[0], tokens.features[:4].mean(0))


def test_a_clip_keeps_time_and_index_of_its_anchor():
    clip = a_clip().reduce(Assignment.keep(torch.tensor([2, 0]), inputs=3))
    assert clip.index.tolist() == [0, 2]
    assert clip.seconds.tolist() == [0.0, 4.0]
    merged = a_clip().reduce(Assignment.merge(torch.tensor([0, 0, 2])))
    assert merged.size.tolist() == [2.0, 1.0]
    assert merged.tokens().size.tolist() == [2.0] * 4 + [1.0] * 4


def test_seconds_keep_their_precision():
    seconds = torch.tensor([36000.0625, 36000.125], dtype=torch.float64)
    clip = Clip.of(torch.zeros(2, 1, 1), seconds).reduce(Assignment.identity(2))
    assert torch.equal(clip.tokens().seconds, seconds)


def test_the_budget_of_the_paper():
    assert Budget() == Budget(tokens=512, frames=32)
    assert [Budget(tokens=10).per_frame(n) for n in (1, 3, 10, 11)] == [10, 3, 1, 1]


def test_values_are_frozen():
    for value in (Budget(), a_clip(), some_tokens(), a_selection()):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, dataclasses.fields(value)[0].name, None)


def test_a_selection_counts_its_frames():
    assert len(a_selection()) == 2


@pytest.mark.parametrize(
    "wrong, says",
    [
        (lambda: Clip.of(torch.zeros(4, 8), torch.zeros(4)), r"features must be .*got shape \(4, 8\): give"),
        (
            lambda: Clip.of(torch.zeros(4, 9, 8), torch.zeros(3)),
            r"seconds must have one entry for each frame \(4\), got shape \(3,\): cut",
        ),
        (lambda: a_clip(patches=6).tokens(columns=4), "columns must divide the 6 patches of a frame, got 4"),
        (lambda: a_clip(patches=6).tokens(columns=0), "columns must divide the 6 patches of a frame, got 0"),
        (lambda: some_tokens(features=torch.zeros(3)), r"\(tokens, channels\), got shape \(3,\)"),
        (
            lambda: some_tokens(row=torch.zeros(2)),
            r"row must have one entry for each token \(3\), got shape \(2,\)",
        ),
        (
            lambda: a_selection(scores=torch.zeros(3)),
            r"scores must have one entry for each chosen frame \(2\)",
        ),
        (lambda: a_selection(logits=torch.zeros(5)), r"logits must be a matrix .* got shape \(5,\)"),
        (
            lambda: a_selection(logits=torch.zeros(4, 6)),
            "weights must cover the 6 frames of the logits, got 5",
        ),
        (
            lambda: Budget(tokens=0),
            r"budget\.tokens must be a whole number of at least 1, got 0: ask for more",
        ),
        (lambda: Budget(frames=-1), r"budget\.frames must .* got -1"),
        (lambda: Budget(tokens=0.25), r"budget\.tokens must .* got 0\.25"),
        (lambda: Budget(tokens=True), r"budget\.tokens must .* got True"),
        (lambda: Budget().per_frame(0), "frames must be at least 1, got 0"),
    ],
)
def test_messages(wrong, says):
    with pytest.raises(ValueError, match=says):
        wrong()
