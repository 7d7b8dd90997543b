"""The nouns check themselves, and follow a plan as one."""

import dataclasses

import pytest
import torch

from bvllm.primitives.assignment import Assignment
from bvllm.primitives.pooling import square
from bvllm.types import Budget, Clip, FrameSelection, Tokens


def some_patches(frames=3, patches=4, channels=2):
    return torch.randn(frames, patches, channels), torch.arange(frames) * 2.0


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
        "chosen": torch.zeros(3, dtype=torch.long),
    }
    return Tokens(**{**parts, **changes})


def test_patches_become_tokens_in_reading_order():
    patches, seconds = some_patches()
    tokens = Tokens.of(patches, seconds)
    assert tokens.frame.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert tokens.seconds.tolist() == [0.0] * 4 + [2.0] * 4 + [4.0] * 4
    assert tokens.row.tolist() == [0, 0, 1, 1] * 3
    assert tokens.column.tolist() == [0, 1, 0, 1] * 3
    assert torch.equal(tokens.features[5], patches[1, 1])


def test_the_grid_of_a_frame():
    assert (square(6), square(9)) == (6, 3)
    assert Tokens.of(*some_patches(patches=6), columns=3).row.tolist()[:6] == [0, 0, 0, 1, 1, 1]


def test_tokens_keep_the_place_of_their_anchor_and_add_up_sizes():
    tokens = Tokens.of(*some_patches())
    reduced = tokens.reduce(Assignment.merge(torch.tensor([3, 3, 3, 3, *range(4, 12)])))
    assert reduced.size.tolist() == [4.0] + [1.0] * 8
    assert (reduced.frame[0], reduced.row[0], reduced.column[0], reduced.seconds[0]) == (0, 1, 1, 0.0)
    torch.testing.assert_close(reduced.features[0], tokens.features[:4].mean(0))


def test_a_selection_keeps_time_and_frame_of_its_anchor():
    seconds = torch.tensor([0.0, 2.0, 4.0, 36000.0625], dtype=torch.float64)
    chosen = FrameSelection.of(torch.tensor([0, 1, 3]), seconds)
    kept = chosen.reduce(Assignment.keep(torch.tensor([2, 0]), inputs=3))
    assert kept.frames.tolist() == [0, 3]
    assert kept.seconds.tolist() == [0.0, 36000.0625]
    assert not kept.is_mixture
    merged = chosen.reduce(Assignment.merge(torch.tensor([0, 0, 2])))
    assert merged.source_count.tolist() == [2.0, 1.0]
    assert merged.weights.tolist() == [[0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]]
    assert merged.is_mixture
    assert merged.reduction().span(seconds)[0].tolist() == [0.0, 2.0]


def test_two_steps_are_known_by_their_product():
    patches, seconds = some_patches()
    once = Tokens.of(patches, seconds).reduce(Assignment.merge(torch.tensor([0, 0, 0, 0, *range(4, 12)])))
    twice = once.reduce(Assignment.merge(torch.tensor([0, 0, *range(2, 9)])))
    rows = patches.flatten(0, 1)
    torch.testing.assert_close(twice.features[0], rows[:5].mean(0))
    torch.testing.assert_close(twice.origin.combine(rows), twice.features)
    assert twice.origin.count(torch.ones(12)).tolist() == twice.size.tolist()
    assert twice.origin.span(seconds.repeat_interleave(4))[0].tolist() == [0.0, 2.0]
    assert twice.origin.used.all()


def test_the_budget_of_the_paper():
    assert Budget() == Budget(tokens=512, frames=32)
    assert [Budget(tokens=10).per_frame(n) for n in (1, 3, 10, 11)] == [10, 3, 1, 1]


def test_values_are_frozen():
    for value in (Budget(), Clip(torch.zeros(2, 3), torch.zeros(2)), some_tokens(), a_selection()):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, dataclasses.fields(value)[0].name, None)


def test_a_selection_counts_its_frames():
    assert len(a_selection()) == 2


@pytest.mark.parametrize(
    "wrong, says",
    [
        (
            lambda: Clip(torch.zeros(4, 9, 8), torch.zeros(4)),
            r"features must be .*got shape \(4, 9, 8\): give",
        ),
        (lambda: Tokens.of(torch.zeros(4, 8), torch.zeros(4)), r"patches must be .*got shape \(4, 8\): give"),
        (
            lambda: Clip(torch.zeros(4, 8), torch.zeros(3)),
            r"seconds must have one entry for each frame \(4\), got shape \(3,\): cut",
        ),
        (
            lambda: Tokens.of(*some_patches(patches=6), columns=4),
            "columns must divide the 6 patches of a frame, got 4",
        ),
        (
            lambda: Tokens.of(*some_patches(patches=6), columns=0),
            "columns must divide the 6 patches of a frame, got 0",
        ),
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
