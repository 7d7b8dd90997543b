"""Fig. 2: clips through the four slots, and what the slots agree on."""

from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch

from bvllm.methods.merge_tokens.tome import ToMe
from bvllm.methods.sample_tokens.divprune import DivPrune
from bvllm.methods.select_frames.baselines import UniformFrames
from bvllm.primitives.assignment import Assignment
from bvllm.primitives.reduction import Reduction
from bvllm.stages.allocate import BalancedShare, EvenShare
from bvllm.stages.merge_frames import SimilarFrameMerging
from bvllm.stages.merge_tokens import BipartiteMerging
from bvllm.stages.method import FrameMethod, Slot, TokenMethod, decide
from bvllm.stages.pipeline import Pipeline, mixed, thin_evenly
from bvllm.stages.sample_tokens import FrameSampling, PerClip, PooledTokens, TokenSampler, sampled_tokens
from bvllm.stages.select_frames import FrameSelector, LearnedSelection, select
from bvllm.types import Budget, Clip, FrameSelection, Questions, Signals, Tokens

from .parts import QUERIES, STATES, WIDTH, a_qformer, a_question


def a_clip(frames=9, patches=16, seed=0):
    """Patches (T, N, C) and the clip that their means make."""
    made = torch.randn(frames, patches, STATES, generator=torch.Generator().manual_seed(seed))
    return made, Clip(made.mean(dim=1), torch.arange(frames) * 1.5)


def run(pipeline, *made, budget, question=None):
    """A pipeline over (patches, clip) pairs; what it chose, and each clip's tokens."""
    patches, clips = zip(*made)
    asked = None if question is None else Questions(*question)
    chosen, sampled = pipeline.run(list(clips), lambda k, frames: patches[k][frames], asked, budget=budget)
    return chosen, sampled.tokens


def the_paper(selector=None, sampler=None, **changes):
    selector = selector or FrameSelector(a_qformer(), WIDTH, STATES, 4).eval()
    sampler = sampler or TokenSampler(a_qformer()).eval()
    slots = {
        "select_frames": LearnedSelection(selector, QUERIES),
        "merge_frames": SimilarFrameMerging(),
        "sample_tokens": FrameSampling(sampler),
        "merge_tokens": BipartiteMerging(),
    }
    return Pipeline(**{**slots, **changes})


@dataclass(frozen=True)
class FirstFrames(FrameMethod):
    slots: ClassVar = ("select_frames",)
    paper: ClassVar = "ours"

    def assign(self, clip, keep, signals):
        return Assignment.keep(torch.arange(keep), len(clip))


@dataclass(frozen=True)
class MergeNeighbours(FrameMethod):
    slots: ClassVar = ("merge_frames",)
    paper: ClassVar = "ours"
    lands: ClassVar = "below"

    def assign(self, clip, keep, signals):
        return Assignment.merge(torch.arange(len(clip)) // 2 * 2)


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
    patches, clip = a_clip(frames=1)
    chosen = select(torch.randn(32, 1), clip.seconds, merging=SimilarFrameMerging())
    assert torch.equal(mixed(lambda frames: patches[frames], chosen), patches)
    assert chosen.scores.tolist() == [1.0]


def test_rows_are_the_chosen_frames_and_only_those_are_asked_for():
    patches, asked = a_clip(frames=3)[0], []

    def patches_of(frames):
        asked.append(frames.tolist())
        return patches[frames]

    rows = mixed(patches_of, select(LOGITS, SECONDS))
    assert asked == [[0, 2]]
    assert torch.equal(rows, patches[[0, 0, 2, 2]])


def test_soft_rows_are_mixtures_and_light_frames_can_be_left_out():
    patches, _ = a_clip(frames=3)
    soft = FrameSelection(
        torch.tensor([[0.9, 0.09, 0.01], [0.0, 0.5, 0.5]]),
        torch.tensor([0, 1]),
        SECONDS[:2],
        *(torch.ones(2) for _ in range(2)),
        LOGITS[:2],
    )
    torch.testing.assert_close(
        mixed(lambda frames: patches[frames], soft), torch.einsum("ft,tnc->fnc", soft.weights, patches)
    )
    soft = FrameSelection(
        soft.weights[:1],
        *(x[:1] for x in (soft.frames, soft.seconds, soft.size)),
        soft.scores[:1],
        soft.logits,
    )
    light = mixed(lambda frames: patches[frames], soft, least=0.02)
    torch.testing.assert_close(light[0], (0.9 * patches[0] + 0.09 * patches[1]) / 0.99)


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
    paper, made, question = the_paper(), a_clip(30), a_question()
    (once,), (again,) = (run(paper, made, budget=Budget(tokens=5), question=question)[1] for _ in range(2))
    assert len(once) == 5
    assert torch.equal(once.features, again.features)
    assert (once.frame.diff() >= 0).all()
    assert torch.equal(once.seconds, made[1].seconds[once.frame])


def test_a_ragged_batch_gives_what_each_clip_gives_alone():
    paper, budget = the_paper(), Budget(tokens=7)
    made = [a_clip(frames, seed=frames) for frames in (1, 5, 30)]
    questions = a_question(3)
    _, together = run(paper, *made, budget=budget, question=questions)
    for k, tokens in enumerate(together):
        _, (alone,) = run(paper, made[k], budget=budget, question=tuple(x[k : k + 1] for x in questions))
        torch.testing.assert_close(tokens.features, alone.features)
        assert torch.equal(tokens.frame, alone.frame)


def test_another_question_or_noise_changes_what_comes_out():
    """What the slots are for: the question chooses frames and tokens; a deaf selector would not."""
    made, (ids, mask) = a_clip(30), a_question()
    paper = the_paper()
    (chosen,), (tokens,) = run(paper, made, budget=Budget(), question=(ids, mask))
    (other_chosen,), (other,) = run(paper, made, budget=Budget(), question=(ids.flip(1) + 1, mask))
    assert not torch.equal(chosen.logits, other_chosen.logits)
    assert tokens.features.shape != other.features.shape or not torch.allclose(
        tokens.features, other.features
    )
    noisy = torch.randn_like(made[0]), made[1]
    (same,), (noise,) = run(paper, noisy, budget=Budget(), question=(ids, mask))
    assert torch.equal(same.frames, chosen.frames)
    assert not torch.allclose(noise.features, tokens.features)


def test_at_most_so_many_frames():
    chosen, (tokens,) = run(
        the_paper(merge_tokens=None), a_clip(30), budget=Budget(frames=2), question=a_question()
    )
    assert len(chosen[0]) <= 2
    assert len(tokens) <= 2 * QUERIES


@pytest.mark.parametrize("choice", ["gumbel", "softmax"])
def test_training_reaches_every_query(choice):
    selector, sampler = FrameSelector(a_qformer(), WIDTH, STATES, 4), TokenSampler(a_qformer())
    paper = the_paper(selector, sampler, select_frames=LearnedSelection(selector, QUERIES, choice, 1.0))
    _, (tokens,) = run(paper, a_clip(), budget=Budget(), question=a_question())
    tokens.features.square().sum().backward()
    assert selector.reader.queries.weight.grad.abs().sum(-1).min() > 0
    assert sampler.reader.queries.weight.grad.abs().sum(-1).min() > 0


def test_untrained_methods_fill_the_same_slots():
    pipeline = Pipeline(
        select_frames=FirstFrames(), merge_frames=MergeNeighbours(), sample_tokens=PerClip(DivPrune())
    )
    (chosen,), (tokens,) = run(pipeline, a_clip(8), budget=Budget(tokens=10, frames=4))
    assert chosen.frames.tolist() == [0, 2]
    assert chosen.weights[0, :2].tolist() == [0.5, 0.5]
    assert len(tokens) == 10
    assert set(tokens.frame.tolist()) <= {0, 2}


def test_a_merged_frame_counts_as_many_and_agreement_counts_once():
    """Settled once: sizes are of frames that a method merged, not of queries that chose the same frame."""
    _, (merged,) = run(
        Pipeline(merge_frames=MergeNeighbours(), sample_tokens=PerClip(ToMe())),
        a_clip(4),
        budget=Budget(tokens=99),
    )
    assert merged.size.tolist() == [2.0] * 32
    agreeing = FrameSelector(a_qformer(), WIDTH, STATES).eval()
    torch.nn.init.zeros_(agreeing.proj.weight)
    torch.nn.init.zeros_(agreeing.proj.bias)
    for stage in (FrameSampling(None), PerClip(ToMe())):
        paper = the_paper(agreeing, sample_tokens=stage)
        (chosen,), (tokens,) = run(paper, a_clip(), budget=Budget(), question=a_question())
        assert chosen.size.tolist() == [QUERIES]
        assert tokens.size.tolist() == [1.0] * 16


@pytest.mark.parametrize("policy", [None, EvenShare(), BalancedShare()])
@pytest.mark.parametrize("merging", [None, ToMe(), BipartiteMerging()])
@pytest.mark.parametrize("stage", [PerClip(DivPrune()), FrameSampling(None), FrameSampling(PooledTokens(2))])
@pytest.mark.parametrize("tokens", [1, 3, 6, 7, 40, 500])
def test_no_path_leaves_more_than_the_budget(policy, merging, stage, tokens):
    """Six frames on a budget of three gave six tokens once."""
    pipeline = Pipeline(
        select_frames=UniformFrames(), sample_tokens=stage, merge_tokens=merging, policy=policy
    )
    _, (found,) = run(pipeline, a_clip(6), budget=Budget(tokens=tokens))
    assert 1 <= len(found) <= tokens
    if policy is None and isinstance(stage, PerClip):
        assert len(found) == min(tokens, 96)


def test_rows_of_S_on_one_frame_are_frames_of_their_own_to_a_policy_and_to_merging():
    """Where duplicates do not merge, each copy spends its own share (Sec. 3.4 halves every V**_i)."""
    selector = FrameSelector(a_qformer(), WIDTH, STATES, 4).eval()
    stages = {"merge_frames": None, "sample_tokens": FrameSampling(PooledTokens(8))}
    for policy in (None, EvenShare()):
        pipeline = the_paper(selector, policy=policy, **stages)
        [chosen], [found] = run(pipeline, a_clip(3), budget=Budget(tokens=20), question=a_question(1))
        assert len(chosen) == QUERIES > len(set(chosen.frames.tolist())), "several queries agree on a frame"
        counts = torch.bincount(found.chosen, minlength=QUERIES)
        assert int(counts.sum()) == 20
        assert int(counts.max() - counts.min()) <= 1
        assert torch.equal(chosen.frames[found.chosen], found.frame)


@pytest.mark.parametrize("stage", [PerClip(DivPrune()), FrameSampling(None)])
def test_tokens_per_frame_are_kept_by_both_token_slots(stage):
    patches, clip = a_clip(3)
    chosen = FrameSelection.of(torch.arange(3), clip.seconds)
    surer = FrameSelection(
        *(getattr(chosen, n) for n in ("weights", "frames", "seconds", "size")),
        torch.tensor([0.8, 0.1, 0.1]),
        chosen.logits,
    )
    pipeline = Pipeline(sample_tokens=stage, merge_tokens=ToMe(), policy=BalancedShare())
    sampled = pipeline.reduce_to_budget(patches, [surer], budget=Budget(tokens=12))
    found = torch.bincount(sampled.tokens[0].frame, minlength=3).tolist()
    assert found == BalancedShare().allocate(surer, 12, 16).tolist()
    assert sum(found) == 12
    assert found[0] > found[1]


@pytest.mark.parametrize("merging", [None, BipartiteMerging()])
def test_with_no_sampler_a_policy_does_not_cut_the_picture_below_its_first_patches(merging):
    """The first patches of a frame are its top: the recipe "balanced" answered from the sky alone once."""
    pipeline = Pipeline(merge_tokens=merging, policy=BalancedShare())
    _, (found,) = run(pipeline, a_clip(4), budget=Budget(tokens=16))
    assert torch.bincount(found.frame).tolist() == [4] * 4
    assert found.row.max() > 0
    if merging is not None:
        assert found.size.sum() == 64


@dataclass(frozen=True)
class Across(TokenMethod):
    """Keep the last tokens of the clip, which says what it was shown."""

    slots: ClassVar[tuple[Slot, ...]] = ("merge_tokens",)
    paper: ClassVar[str] = "ours"
    across: ClassVar[bool] = True

    def assign(self, tokens, keep, signals):
        return Assignment.keep(torch.arange(len(tokens) - keep, len(tokens)), len(tokens))


@pytest.mark.parametrize("sampler", [True, False])
def test_a_method_that_compares_frames_sees_all_of_them_whatever_the_policy(sampler):
    stages = {"sample_tokens": PerClip(Across())} if sampler else {"merge_tokens": Across()}
    _, (found,) = run(Pipeline(policy=BalancedShare(), **stages), a_clip(4), budget=Budget(tokens=16))
    assert found.frame.tolist() == [3] * 16


def test_empty_slots_pass_everything_on_up_to_the_budget():
    patches, clip = a_clip(2)
    _, (tokens,) = run(Pipeline(), (patches, clip), budget=Budget())
    assert torch.equal(tokens.features, patches.flatten(0, 1))
    _, (few,) = run(Pipeline(), (patches, clip), budget=Budget(tokens=4))
    assert torch.equal(few.features, patches.flatten(0, 1)[thin_evenly(32, 4).anchor])
    _, (pooled,) = run(
        Pipeline(sample_tokens=FrameSampling(PooledTokens(3))), (patches, clip), budget=Budget()
    )
    assert len(pooled) == 6


@pytest.mark.parametrize("stage", [PerClip(DivPrune()), FrameSampling(PooledTokens(4)), FrameSampling(None)])
@pytest.mark.parametrize("merging", [None, ToMe()])
def test_origin_says_what_every_token_is_made_of(stage, merging):
    """The weights that travel with the tokens, applied to the patches, give the tokens."""
    patches, clip = a_clip(5)
    pipeline = Pipeline(select_frames=UniformFrames(), sample_tokens=stage, merge_tokens=merging)
    (chosen,), (tokens,) = run(pipeline, (patches, clip), budget=Budget(tokens=9, frames=3))
    rows = patches[chosen.frames].flatten(0, 1)
    torch.testing.assert_close(tokens.origin.combine(rows), tokens.features)
    whole = chosen.reduction().within(16).then(tokens.origin)
    torch.testing.assert_close(whole.combine(patches.flatten(0, 1)), tokens.features)
    span = whole.span(clip.seconds.repeat_interleave(16))
    assert (span[:, 0] <= tokens.seconds).all()
    assert (tokens.seconds <= span[:, 1]).all()


def test_sampled_queries_know_their_patches_after_merging():
    (_,), (tokens,) = run(the_paper(), a_clip(30), budget=Budget(tokens=3), question=a_question())
    weights = tokens.origin
    assert weights.outputs == 3
    torch.testing.assert_close(torch.zeros(3).index_add_(0, weights.output, weights.weight), torch.ones(3))


def test_a_reduction_may_stand_where_an_assignment_may():
    @dataclass(frozen=True)
    class Overlapping(TokenMethod):
        slots: ClassVar = ("merge_tokens",)
        paper: ClassVar = "ours"

        def assign(self, tokens, keep, signals):
            starts = torch.arange(keep) * (len(tokens) - 2) // keep
            output = torch.arange(keep).repeat_interleave(3)
            input = (starts[:, None] + torch.arange(3)).flatten()
            return Reduction.of(output, input, torch.full((3 * keep,), 1 / 3), keep, len(tokens))

    patches, clip = a_clip(2)
    _, (tokens,) = run(Pipeline(merge_tokens=Overlapping()), (patches, clip), budget=Budget(tokens=20))
    assert len(tokens) == 20
    assert tokens.size.tolist() == [3.0] * 20
    torch.testing.assert_close(tokens.features[0], patches.flatten(0, 1)[:3].mean(dim=0))


def test_a_method_that_breaks_its_word_is_told():
    @dataclass(frozen=True)
    class TooMany(TokenMethod):
        slots: ClassVar = ("merge_tokens",)
        paper: ClassVar = "ours"

        def assign(self, tokens, keep, signals):
            return Assignment.identity(len(tokens))

    @dataclass(frozen=True)
    class ForOthers(TooMany):
        def assign(self, tokens, keep, signals):
            return Assignment.identity(keep)

    tokens = Tokens.of(torch.randn(1, 9, 2), torch.zeros(1))
    with pytest.raises(RuntimeError, match="method TooMany must land 'exact', as it states, for keep=4 of 9"):
        decide(TooMany(), tokens, 4, Signals())
    with pytest.raises(RuntimeError, match="method ForOthers must decide about all 9 inputs"):
        decide(ForOthers(), tokens, 4, Signals())


def test_a_signal_that_is_missing_is_named():
    @dataclass(frozen=True)
    class ByAttention(TokenMethod):
        slots: ClassVar = ("sample_tokens",)
        paper: ClassVar = "ours"
        needs: ClassVar = frozenset({"attention", "keys"})

        def assign(self, tokens, keep, signals):
            return Assignment.keep(signals.attention.topk(keep).indices, len(tokens))

    patches, clip = a_clip(2)
    says = (
        "a model for method ByAttention must give attention and keys, got one that gives relevance, grid, "
        "seconds: choose another method"
    )
    with pytest.raises(ValueError, match=says):
        run(Pipeline(sample_tokens=PerClip(ByAttention())), (patches, clip), budget=Budget())


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


def merging(rows):
    @dataclass(frozen=True)
    class Rows(FrameMethod):
        slots: ClassVar = ("merge_frames",)
        paper: ClassVar = "ours"
        lands: ClassVar = "below"

        def assign(self, clip, keep, signals):
            return Reduction.dense(torch.tensor(rows))

    return Rows()


@pytest.mark.parametrize(
    "rows",
    [
        [[1.0, 1.0, 0.0, 0.0]],
        [[0.5, -0.25, 0.0, 0.0], [0.0, 0.0, 0.5, 0.5]],
        [[0.0, -0.5, 0.4, 0.0]],
    ],
)
def test_sums_and_negative_weights_over_frames_are_carried_out(rows):
    patches, clip = a_clip(4)
    _, (tokens,) = run(Pipeline(merge_frames=merging(rows)), (patches, clip), budget=Budget())
    torch.testing.assert_close(tokens.features, (torch.tensor(rows) @ patches.flatten(1)).reshape(-1, STATES))


def test_whatever_a_method_gives_comes_out_oldest_first():
    backwards = merging([[0.0, 0.0, 0.5, 0.5], [0.5, 0.5, 0.0, 0.0]])
    (chosen,), (tokens,) = run(Pipeline(merge_frames=backwards), a_clip(4), budget=Budget())
    assert chosen.frames.tolist() == [0, 2]
    assert (tokens.seconds.diff() >= 0).all()


def test_signals_of_frames_follow_the_frames():
    seen = []

    @dataclass(frozen=True)
    class Looks(TokenMethod):
        slots: ClassVar = ("sample_tokens",)
        paper: ClassVar = "ours"

        def assign(self, tokens, keep, signals):
            seen.append((signals.relevance.tolist(), signals.seed))
            return Assignment.keep(torch.arange(keep), len(tokens))

    patches, clip = a_clip(4)
    signals = [Signals(relevance=torch.arange(4.0), seed=5)]
    for policy in (None, EvenShare()):
        pipeline = Pipeline(UniformFrames(), sample_tokens=PerClip(Looks()), policy=policy)
        pipeline.run([clip], lambda _, f: patches[f], budget=Budget(6, 2), signals=signals)
    assert seen[0] == ([1.0, 3.0], 5)
    assert [relevance for relevance, _ in seen[1:]] == [[1.0], [3.0]]
    assert len({seed for _, seed in seen[1:]}) == 2, "frames draw numbers of their own"


def test_a_grid_that_is_no_square_gives_the_places():
    patches, clip = a_clip(1, patches=8)
    pipeline = Pipeline(sample_tokens=PerClip(ToMe()))
    _, sampled = pipeline.run(
        [clip], lambda _, f: patches[f], budget=Budget(), signals=[Signals(grid=(4, 2))]
    )
    assert int(sampled.tokens[0].column.max()) == 1


def test_scores_that_are_no_numbers_share_evenly():
    chosen = FrameSelection.of(torch.arange(3), torch.arange(3.0))
    odd = replace(chosen, scores=torch.tensor([torch.nan, 0.1, 0.2]))
    assert int(BalancedShare().allocate(odd, 20, 16).sum()) == 20
