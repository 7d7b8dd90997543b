"""The contract of what decides beside the hard methods: inside the language model, and over rows of S."""

import copy
from dataclasses import dataclass, replace

import pytest
import torch

from bvllm.methods import METHODS
from bvllm.methods.prune_layers import INNER_METHODS
from bvllm.stages.merge_frames import SimilarFrameMerging
from bvllm.stages.prune_layers import LayerView, decide_inside
from bvllm.stages.sample_tokens import PooledTokens

HEADS, GROUPS, WIDTH, CHANNELS = 4, 2, 8, 16
FIRST, QUESTION = 3, 5  # places in front of the visual tokens, and behind them
SEEDS = range(4)
MERGERS = METHODS["merge_frames"]


@dataclass
class DrawnProjections:
    """Queries and keys of their own for every place."""

    keys: torch.Tensor
    every: torch.Tensor
    scale: float = WIDTH**-0.5

    def queries(self, places):
        return self.every[:, places]


def a_view(seed=0, visual=40, question=QUESTION, like=None) -> LayerView:
    drawn = torch.Generator().manual_seed(seed)
    places = FIRST + visual + question

    def numbers(*shape):
        x = torch.randn(*shape, generator=drawn)
        return x if like is None else torch.full_like(x, like)

    def projections():
        return DrawnProjections(numbers(GROUPS, places, WIDTH), numbers(HEADS, places, WIDTH))

    return LayerView(
        states=numbers(places, CHANNELS),
        visual=torch.arange(FIRST, FIRST + visual),
        question=torch.arange(FIRST + visual, places),
        before=projections(),
        own=projections(),
        visual_inputs=numbers(visual, CHANNELS),
        question_inputs=numbers(question, CHANNELS),
        final_norm=lambda x: x,
        transitions=torch.rand(visual, generator=drawn),
    )


def in_type(view, dtype):
    def turned(of):
        return DrawnProjections(of.keys.to(dtype), of.every.to(dtype))

    return replace(
        view,
        states=view.states.to(dtype),
        before=turned(view.before),
        own=turned(view.own),
        visual_inputs=view.visual_inputs.to(dtype),
        question_inputs=view.question_inputs.to(dtype),
    )


@pytest.fixture(params=INNER_METHODS)
def method(request):
    return INNER_METHODS[request.param]()


def left(plan, view):
    """States of what is left, in float32."""
    return plan.combine(view.states[view.visual].float(), torch.ones(len(view.visual)))


def same(one, other, view):
    assert torch.equal(one.anchor, other.anchor)
    torch.testing.assert_close(left(one, view), left(other, view))


@pytest.mark.parametrize("visual, question", [(2, 1), (3, 0), (7, 1), (40, 5)])
def test_it_lands_on_its_count(method, visual, question):
    view = a_view(visual=visual, question=question)
    for keep in sorted({1, 2, visual // 2, visual - 1} - {0, visual}):
        plan = decide_inside(method, view, keep)
        assert len(set(plan.anchor.tolist())) == keep, "every output stands on a token of its own"
        assert left(plan, view).isfinite().all()


@pytest.mark.parametrize("seed", SEEDS)
def test_half_precision_is_scored_in_float32(method, seed):
    """States and projections in bfloat16 decide what the same numbers decide in float32."""
    half = in_type(a_view(seed), torch.bfloat16)
    rounded = in_type(half, torch.float32)
    for keep in (1, 9, 30):
        same(decide_inside(method, half, keep), decide_inside(method, rounded, keep), rounded)


def test_the_same_view_gives_the_same_again(method):
    view = a_view(1)
    same(decide_inside(method, view, 11), decide_inside(method, view, 11), view)


def test_the_view_stays_as_it_is(method):
    view = a_view(2)
    before = copy.deepcopy(view)
    decide_inside(method, view, 11)
    for name in ("states", "visual", "question", "visual_inputs", "question_inputs", "transitions"):
        assert torch.equal(getattr(view, name), getattr(before, name)), name
    for name in ("before", "own"):
        for part in ("keys", "every"):
            assert torch.equal(getattr(getattr(view, name), part), getattr(getattr(before, name), part))


@pytest.mark.parametrize("like", [0.0, 1.0])
def test_equal_and_empty_vectors_work(method, like):
    view = a_view(like=like)
    for keep in (1, 13, 39):
        assert left(decide_inside(method, view, keep), view).isfinite().all()


def test_zero_vectors_and_copies_among_others_work(method):
    view = a_view(3)
    view.states[view.visual[4]] = 0
    view.states[view.visual[5:9]] = view.states[view.visual[0]].clone()
    view.before.keys[:, view.visual[4]] = 0
    assert left(decide_inside(method, view, 12), view).isfinite().all()


@pytest.fixture(params=MERGERS)
def merger(request):
    return MERGERS[request.param]()


def rows(seed=0, count=8, frames=12):
    drawn = torch.Generator().manual_seed(seed)
    return (3 * torch.randn(count, frames, generator=drawn)).softmax(dim=1)


def test_rows_of_a_merger_become_fewer_in_their_order(merger):
    assert issubclass(type(merger), SimilarFrameMerging)
    for count in (1, 2, 8):
        S = rows(count=count)
        before = S.clone()
        plan, again = merger.assign(S), merger.assign(S)
        assert torch.equal(S, before)
        assert torch.equal(plan.target, again.target)
        assert 1 <= len(plan) <= count
        assert (plan.anchor.diff() > 0).all()
        lost = int((plan.target < 0).sum())
        assert not lost or merger.released, "only the released code loses rows"
    copies = rows(count=1).repeat(5, 1)
    assert len(merger.assign(copies)) == 1
    assert len(merger.assign(torch.eye(6))) == 6


@pytest.mark.parametrize("seed", SEEDS)
def test_rows_in_half_precision_merge_as_the_same_numbers_do(merger, seed):
    half = rows(seed).bfloat16()
    assert torch.equal(merger.assign(half).target, merger.assign(half.float()).target)


def test_pooled_tokens_are_means_whatever_the_precision():
    patches = torch.randn(3, 16, 4, generator=torch.Generator().manual_seed(0))
    before = patches.clone()
    for count in (1, 4, 16):
        tokens, attention = PooledTokens(count)(patches)
        assert tokens.shape == (3, count, 4)
        torch.testing.assert_close(attention.sum(dim=-1), torch.ones(3, count))
        torch.testing.assert_close(attention @ patches, tokens)
        half, _ = PooledTokens(count)(patches.bfloat16())
        torch.testing.assert_close(half.float(), tokens, atol=3e-2, rtol=3e-2)
    assert torch.equal(patches, before)
