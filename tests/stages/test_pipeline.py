"""Fig. 2: one clip through the four slots."""

from dataclasses import dataclass

import pytest
import torch

from bvllm.primitives.assignment import Assignment
from bvllm.primitives.matching import farthest_first
from bvllm.stages.merge_frames import SimilarFrameMerging
from bvllm.stages.merge_tokens import BipartiteMerging
from bvllm.stages.pipeline import Pipeline, sampled_tokens, select, take_frames
from bvllm.stages.sample_tokens import PooledTokens, TokenSampler
from bvllm.stages.select_frames import FrameSelector
from bvllm.types import Budget, Clip

from .parts import QUERIES, STATES, WIDTH, a_qformer, a_question


def a_clip(frames=9, patches=16):
    return Clip.of(torch.randn(frames, patches, STATES), torch.arange(frames) * 1.5)


def the_paper(**changes):
    slots = {
        "select_frames": FrameSelector(a_qformer(), WIDTH, STATES, 4),
        "merge_frames": SimilarFrameMerging(),
        "sample_tokens": TokenSampler(a_qformer()),
        "merge_tokens": BipartiteMerging(),
    }
    return Pipeline(**{**slots, **changes}).eval()


@dataclass(frozen=True)
class FirstFrames:
    def assign(self, clip, keep):
        return Assignment.keep(torch.arange(keep), len(clip))


@dataclass(frozen=True)
class MergeNeighbours:
    def assign(self, clip, keep):
        return Assignment.merge(torch.arange(len(clip)) // 2 * 2)


@dataclass(frozen=True)
class Diverse:
    def assign(self, tokens, keep):
        return Assignment.keep(farthest_first(tokens.features, keep), len(tokens))


LOGITS = torch.tensor([[0.0, 0.0, 9.0], [5.0, 0.0, 0.0], [0.0, 0.0, 3.0], [4.0, 0.0, 0.0]])
SECONDS = torch.tensor([0.0, 2.0, 7.0], dtype=torch.float64)


def test_select_by_hand():
    chosen = select(LOGITS, SECONDS, merging=SimilarFrameMerging())
    assert chosen.frames.tolist() == [0, 2]
    assert chosen.seconds.tolist() == [0.0, 7.0]
    assert chosen.size.tolist() == [2.0, 2.0]
    assert torch.equal(chosen.weights, torch.eye(3)[[0, 2]])
    # the surer of the two queries that agree on each frame
    torch.testing.assert_close(
        chosen.scores, torch.tensor([5.0, 9.0]).exp() / (torch.tensor([5.0, 9.0]).exp() + 2)
    )
    assert torch.equal(chosen.logits, LOGITS)


def test_frames_that_no_query_is_sure_of_can_be_left_out():
    sure = torch.tensor([0.9, 0.3])
    logits = torch.stack([torch.cat([p[None], (1 - p).expand(4) / 4]) for p in sure]).log()
    logits[1] = logits[1].roll(2)  # the doubtful query points at frame 2
    seconds = torch.arange(5.0)
    assert select(logits, seconds).frames.tolist() == [0, 2]
    assert select(logits, seconds, certainty=0.33).frames.tolist() == [0, 2]
    only = select(logits, seconds, certainty=0.34)
    assert only.frames.tolist() == [0]
    assert only.weights.tolist() == [[1, 0, 0, 0, 0]]
    assert [len(x) for x in (only.seconds, only.size, only.scores)] == [1, 1, 1]
    assert select(logits, seconds, certainty=0.999).frames.tolist() == [0], "the surest always stays"


def test_select_without_merging_has_a_row_for_every_query():
    assert select(LOGITS, SECONDS).frames.tolist() == [0, 0, 2, 2]
    assert select(LOGITS, SECONDS, keep=1).frames.tolist() == [2]
    assert select(LOGITS, SECONDS, keep=99).frames.tolist() == [0, 0, 2, 2]


@pytest.mark.parametrize("mode", ["gumbel", "softmax"])
def test_soft_rows_keep_the_order_of_time_and_their_gradients(mode):
    logits = torch.randn(12, 30, requires_grad=True)
    chosen = select(
        logits,
        torch.arange(30.0),
        mode=mode,
        tau=1.0,
        merging=SimilarFrameMerging(),
        generator=torch.Generator(),
    )
    assert (chosen.frames.diff() >= 0).all()
    assert chosen.size.sum() == 12
    torch.testing.assert_close((chosen.weights * chosen.size[:, None]).sum(), torch.tensor(12.0))
    (chosen.weights * torch.arange(30.0)).sum().backward()
    assert logits.grad.abs().sum(-1).min() > 0
    assert not chosen.scores.requires_grad


def test_select_survives_the_losses_of_the_released_code():
    for seed in range(5):
        logits = torch.randn(16, 8, generator=torch.Generator().manual_seed(seed))
        chosen = select(logits, torch.arange(8.0), mode="softmax", merging=SimilarFrameMerging(released=True))
        assert len(chosen) >= 1
        assert chosen.scores.gt(0).all()


def test_one_picture_passes_unchanged():
    clip = a_clip(frames=1)
    chosen = select(torch.randn(32, 1), clip.seconds, merging=SimilarFrameMerging())
    taken = take_frames(clip, chosen)
    assert torch.equal(taken.features, clip.features)
    assert chosen.scores.tolist() == [1.0]


def test_taken_frames_are_the_chosen_ones():
    clip = a_clip(frames=3)
    taken = take_frames(clip, select(LOGITS, SECONDS, merging=SimilarFrameMerging()))
    assert taken.index.tolist() == [0, 2]
    assert torch.equal(taken.features, clip.features[[0, 2]])


def test_sampled_tokens_know_their_frame_and_place():
    attention = torch.zeros(2, 3, 16)
    for token, patch in enumerate((0, 6, 15)):
        attention[:, token, patch] = 1.0
    bag = sampled_tokens(torch.randn(2, 3, 8), attention, SECONDS[[0, 2]], torch.tensor([0, 2]), columns=4)
    assert bag.frame.tolist() == [0, 0, 0, 2, 2, 2]
    assert bag.seconds.tolist() == [0.0] * 3 + [7.0] * 3
    assert bag.row.tolist() == [0, 1, 3] * 2
    assert bag.column.tolist() == [0, 2, 3] * 2


def test_the_paper_fits_the_budget_and_repeats():
    paper, clip, question = the_paper(), a_clip(30), a_question()
    budget = Budget(tokens=5)
    once, again = (paper(clip, budget, *question) for _ in range(2))
    assert len(once) == 5
    assert torch.equal(once.features, again.features)
    assert (once.frame.diff() >= 0).all()
    assert torch.equal(once.seconds, clip.seconds[once.frame])


def test_at_most_so_many_frames():
    tokens = the_paper(merge_tokens=None)(a_clip(30), Budget(frames=2), *a_question())
    assert len(tokens) <= 2 * QUERIES
    assert len(tokens.frame.unique()) <= 2


@pytest.mark.parametrize("choice", ["gumbel", "softmax"])
def test_training_reaches_every_query(choice):
    paper = the_paper(choice=choice, tau=1.0).train()
    paper(a_clip(), Budget(), *a_question()).features.square().sum().backward()
    assert paper.select_frames.reader.queries.weight.grad.abs().sum(-1).min() > 0
    assert paper.sample_tokens.reader.queries.weight.grad.abs().sum(-1).min() > 0


def test_noise_in_training_only():
    paper, clip, question = the_paper(), a_clip(), a_question()
    hard = [paper(clip, Budget(), *question).features for _ in range(2)]
    assert torch.equal(*hard)
    paper.select_frames.train(False)
    paper.training = True
    with torch.no_grad():
        noisy = [paper(clip, Budget(), *question).features for _ in range(2)]
    assert noisy[0].shape != noisy[1].shape or not torch.allclose(*noisy)


def test_untrained_methods_fill_the_same_slots():
    pipeline = Pipeline(select_frames=FirstFrames(), merge_frames=MergeNeighbours(), sample_tokens=Diverse())
    clip = a_clip(8)
    tokens = pipeline(clip, Budget(tokens=10, frames=4))
    # four frames, then two of size 2; an even share is 5 of each 16 patches
    assert len(tokens) == 10
    assert set(tokens.frame.tolist()) <= {0, 2}
    assert tokens.size.unique().tolist() == [2.0]


def test_empty_slots_pass_everything_on():
    clip = a_clip(2)
    assert torch.equal(Pipeline()(clip, Budget(tokens=1)).features, clip.features.flatten(0, 1))
    assert len(Pipeline(sample_tokens=PooledTokens(3))(clip, Budget())) == 6


def test_learned_parts_are_saved_under_their_slot():
    names = the_paper().state_dict()
    assert "select_frames.reader.queries.weight" in names
    assert "sample_tokens.reader.queries.weight" in names


@pytest.mark.parametrize(
    "wrong, says",
    [
        (lambda: select(LOGITS, SECONDS, keep=0), r"keep must be at least 1, got 0: raise budget\.frames"),
        (
            lambda: sampled_tokens(torch.zeros(2, 3, 8), torch.zeros(2, 4, 16), SECONDS[:2], SECONDS[:2], 4),
            r"must be of the same frames, got shapes \[\(2, 3, 8\), \(2, 4, 16\), \(2,\), \(2,\)\]",
        ),
    ],
)
def test_messages(wrong, says):
    with pytest.raises(ValueError, match=says):
        wrong()
