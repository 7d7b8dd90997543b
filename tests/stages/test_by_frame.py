"""Tokens of a clip by frame, also where frames hold different numbers of them."""

import pytest
import torch

from bvllm.methods import METHODS
from bvllm.primitives.assignment import Assignment
from bvllm.stages.by_frame import frame_grid, frame_slices, largest_remainders, likeness, stacked
from bvllm.stages.method import TokenMethod, decide
from bvllm.types import Signals, Tokens

ACROSS = [
    name
    for name, method in METHODS["merge_tokens"].items()
    if issubclass(method, TokenMethod) and not method.needs
]


def uneven():
    """Five frames of 9 tokens, of which some went: 9, 4, 0, 1 and 9 are left."""
    tokens = Tokens.of(torch.randn(5, 9, 6, generator=torch.Generator().manual_seed(0)), torch.arange(5.0))
    left = [*range(9), *range(9, 13), 30, *range(36, 45)]
    return tokens.reduce(Assignment.keep(torch.tensor(left), 45))


def test_frames_are_told_apart():
    tokens = uneven()
    places = frame_slices(tokens)
    assert [place.stop - place.start for place in places] == [9, 4, 1, 9]
    assert frame_grid(tokens, places[0]) == (3, 3)
    assert frame_grid(tokens, places[1]) == (2, 2), "no grid of its own: the shape nearest to a square"


def test_where_places_are_not_shared_the_most_similar_token_counts():
    tokens = uneven()
    first, second, _, last = frame_slices(tokens)
    x = tokens.features.clone()
    x[second.start] = 3 * x[7]
    assert likeness(x, second, first)[0] == pytest.approx(1)
    x[last.start] = x[0]
    assert likeness(x, last, first)[0] == pytest.approx(1)
    x[last.start] = x[1]
    assert likeness(x, last, first)[0] < 0.99, "frames of a size are compared place by place"


@pytest.mark.parametrize("name", ACROSS)
@pytest.mark.parametrize("keep", [1, 6, 17])
def test_every_method_takes_frames_of_different_sizes(name, keep):
    tokens = uneven()
    plan = decide(METHODS["merge_tokens"][name](), tokens, keep, Signals(seed=1))
    assert 1 <= len(plan) <= keep
    assert tokens.reduce(plan).features.isfinite().all()


@pytest.mark.parametrize("total", [0, 3, 11, 40])
@pytest.mark.parametrize("least", [0, 1])
def test_shares_sum_to_the_total_where_that_can_be(total, least):
    wanted, most = [0.2, 7.7, 3.4, 3.4, 0.0], [2, 9, 3, 9, 4]
    found = largest_remainders(wanted, most, total, least)
    assert sum(found) == min(max(total, 5 * least), sum(most))
    assert all(least <= count <= limit for count, limit in zip(found, most))


def test_stacked_outputs_may_share_inputs():
    plan = stacked([(torch.tensor([[0.5, 0.5]]), torch.tensor([0, 1])), (torch.eye(1), torch.tensor([1]))], 3)
    assert plan.combine(torch.tensor([2.0, 4.0, 9.0])).tolist() == [3.0, 4.0]
