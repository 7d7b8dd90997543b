"""Sec. 3.2: scores of frames, for ragged batches."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bvllm.stages.merge_frames import SimilarFrameMerging
from bvllm.stages.qformer import QFormerOutput
from bvllm.stages.select_frames import FrameSelector, choose, select, take_second_choices

from .parts import QUERIES, READERS, STATES, WIDTH, a_question, ragged

each_reader = pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
each_time = pytest.mark.parametrize("time_channels", [0, 6])


class FixedReader(torch.nn.Module):
    """Queries that are given, whatever there is to read; remembers what it was shown."""

    def __init__(self, queries):
        super().__init__()
        self.given = queries

    def forward(self, states, states_mask, question_ids, question_mask):
        self.shown = states
        return QFormerOutput(self.given.expand(len(states), -1, -1), None)


def identity_projection(selector):
    with torch.no_grad():
        selector.proj.weight.copy_(torch.eye(selector.proj.out_features))
        selector.proj.bias.zero_()
    return selector


def test_eq_1_by_hand():
    queries, frames = (
        torch.tensor([[1.0, 0.0], [0.0, 2.0]]),
        torch.tensor([[[3.0, 1.0], [0.0, 4.0], [1.0, 1.0]]]),
    )
    selector = identity_projection(FrameSelector(FixedReader(queries), 2, 2))
    logits = selector(frames, torch.ones(1, 3, dtype=torch.bool), torch.arange(3.0)[None])[0]
    # Q V^T = [[3, 0, 1], [2, 8, 2]]
    torch.testing.assert_close(logits * math.sqrt(2), torch.tensor([[3.0, 0.0, 1.0], [2.0, 8.0, 2.0]]))
    V = choose(logits) @ frames[0]
    assert V.tolist() == [[3.0, 1.0], [0.0, 4.0]]


def test_time_is_part_of_the_key_and_of_what_is_read():
    # The query asks for "late" only: channel 2 of the key is 2t - 1.
    reader = FixedReader(torch.tensor([[0.0, 0.0, 1.0]]))
    selector = identity_projection(FrameSelector(reader, 3, 2, time_channels=1))
    frames, mask = torch.randn(1, 3, 2), torch.ones(1, 3, dtype=torch.bool)
    logits = selector(frames, mask, torch.tensor([[5.0, 6.0, 9.0]]))[0, 0]
    torch.testing.assert_close(logits * math.sqrt(2), torch.tensor([-1.0, -0.5, 1.0]))
    places = torch.tensor([[-1.0], [-0.5], [1.0]])
    torch.testing.assert_close(reader.shown[0], frames[0] + selector.time_proj(places))


@each_reader
@each_time
def test_a_clip_scores_the_same_alone_and_in_a_batch(reader, time_channels):
    lengths = [3, 9, 1, 6]
    selector = FrameSelector(reader(), WIDTH, STATES, time_channels).eval()
    (frames, mask, seconds), (ids, question_mask) = ragged(lengths), a_question(4)
    batch = selector(frames, mask, seconds, ids, question_mask)
    assert batch.shape == (4, QUERIES, 9)
    for i, n in enumerate(lengths):
        one = slice(i, i + 1)
        alone = selector(frames[one, :n], mask[one, :n], seconds[one, :n], ids[one], question_mask[one])
        torch.testing.assert_close(batch[one, :, :n], alone, atol=1e-5, rtol=0)
        assert batch[i, :, n:].eq(-torch.inf).all()
        assert choose(batch[i]).argmax(-1).max() < n


@each_time
def test_order_counts_only_with_time(time_channels):
    selector = FrameSelector(READERS["qformer"](), WIDTH, STATES, time_channels).eval()
    frames, mask, seconds = ragged([6])
    turned = selector(frames.flip(1), mask, seconds).flip(-1)
    assert torch.allclose(turned, selector(frames, mask, seconds), atol=1e-5) is (time_channels == 0)


@each_reader
@each_time
@pytest.mark.parametrize("mode", ["gumbel", "softmax"])
def test_soft_choices_train_everything_that_is_used(reader, time_channels, mode):
    selector = FrameSelector(reader(), WIDTH, STATES, time_channels).train()
    frames, mask, seconds = ragged([4, 7])
    S = choose(selector(frames, mask, seconds, *a_question(2)), tau=1.0, mode=mode)
    (S * torch.arange(7.0)).sum().backward()
    assert selector.reader.queries.weight.grad.abs().sum() > 0
    for name, parameter in selector.named_parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all(), name
    assert selector.proj.weight.grad.any()
    assert time_channels == 0 or selector.time_proj.weight.grad.any()


def test_queries_do_not_all_pick_one_frame_at_the_start():
    selector = FrameSelector(READERS["qformer"](), WIDTH, STATES).eval()
    logits = selector(*ragged([40]))[0]
    assert torch.pdist(logits).min() > 1e-2
    assert len(set(logits.argmax(-1).tolist())) > 1


def call(**changes):
    frames, mask, seconds = ragged([3, 2])
    parts = {"frames": frames, "mask": mask, "seconds": seconds, **changes}
    return FrameSelector(READERS["resampler"](), WIDTH, STATES)(**parts)


@pytest.mark.parametrize(
    "wrong, says",
    [
        (
            lambda: call(frames=torch.zeros(3, STATES)),
            r"frames must be \(clips, frames, 12\), got shape \(3, 12\)",
        ),
        (lambda: call(frames=torch.zeros(2, 3, 5)), r"frames must be .* got shape \(2, 3, 5\)"),
        (lambda: call(mask=torch.ones(2, 4)), r"mask must be \(2, 3\), got shape \(2, 4\)"),
        (lambda: call(seconds=torch.ones(3)), r"seconds must be \(2, 3\), got shape \(3,\)"),
        (
            lambda: call(mask=torch.tensor([[True, False, False], [False] * 3])),
            r"mask must leave every clip a frame, got \[1, 0\] frames",
        ),
        (
            lambda: FrameSelector(READERS["resampler"](), WIDTH, STATES, -1),
            "time_channels must be 0 or more, got -1",
        ),
    ],
)
def test_messages(wrong, says):
    with pytest.raises(ValueError, match=says):
        wrong()


def test_queries_that_agree_take_second_choices():
    """Three queries are after one scene, frames 2 to 4; the fourth is after another, which is far weaker."""
    logits = torch.full((4, 8), -9.0)
    logits[:3, 2:5] = torch.tensor([[4.0, 5.0, 3.9], [4.1, 6.0, 4.0], [4.0, 5.5, 4.0]])
    logits[3, 6] = 1.0
    seconds = torch.arange(8.0)
    chosen = select(logits, seconds, merging=SimilarFrameMerging())
    assert chosen.frames.tolist() == [3, 6]
    spread = select(logits, seconds, merging=SimilarFrameMerging(), second_choices=0.1)
    assert spread.frames.tolist() == [2, 3, 4, 6]
    assert spread.weights.argmax(-1).tolist() == [2, 3, 4, 6]
    # Nothing else is strong enough, so a query that is left over still agrees with another.
    logits = torch.cat([logits, logits[:1]])
    again = select(logits, seconds, merging=SimilarFrameMerging(), second_choices=0.1)
    assert again.frames.tolist() == [2, 3, 4, 6]
    assert again.size.sum() == 5
    # With one query there is no second choice, and a soft choice is left alone.
    assert select(logits, seconds, keep=1, second_choices=0.1).frames.tolist() == [3]
    soft = select(logits, seconds, mode="softmax", second_choices=0.1).weights
    assert torch.equal(soft, select(logits, seconds, mode="softmax").weights)


@given(st.integers(1, 6), st.integers(1, 12), st.floats(0.01, 1.0), st.integers(0, 1000))
def test_second_choices_only_add_frames(queries, frames, least, seed):
    torch.manual_seed(seed)
    logits = 3 * torch.randn(queries, frames)
    before, after = (
        set(S.argmax(-1).tolist())
        for S in (choose(logits), take_second_choices(choose(logits), logits, least))
    )
    assert before <= after
    strength = logits.softmax(-1).mean(0)
    assert all(strength[frame] >= least * strength.max() for frame in after - before)
    assert len(after) <= queries
