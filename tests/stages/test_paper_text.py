"""Secs. 3.2 to 3.5 once more, written from the paper's text alone and in plain loops, beside the pipeline.

What the text leaves open is not compared: eq. 1's scale (ours is 1 / sqrt(C), which moves no arg-max), more
rounds of eq. 2 to 5 on soft rows, a budget that halving does not hit, and one below the number of frames.
"""

import math

import pytest
import torch

from bvllm.primitives.choice import choose
from bvllm.stages.merge_frames import SimilarFrameMerging, order_by_time
from bvllm.stages.pipeline import mixed
from bvllm.stages.select_frames import select
from bvllm.types import Budget
from tests.model import tiny

QUESTION = torch.tensor([[8, 9, 10, 7]])
CHANNELS, PATCHES, R = 16, 16, 4


@pytest.fixture(scope="module")
def paper():
    """A model as the text has it: no positions for the selector, no clock; L* and R are 4."""
    return tiny.backbone(time_channels=0, clock=False, num_selected_frames=6)


def video(frames, seed=0):
    """[CLS] (T, C) and patches (T, M, C)."""
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(frames, CHANNELS, generator=generator),
        torch.randn(frames, PATCHES, CHANNELS, generator=generator),
    )


def attend(attention, x, y):
    """One block of a Q-Former: the words of `x` look at `y`, then residual and norm."""
    parts, heads = attention.attention, attention.attention.num_attention_heads
    q, k, v = (
        layer(z).unflatten(-1, (heads, -1))
        for layer, z in ((parts.query, x), (parts.key, y), (parts.value, y))
    )
    seen = []
    for h in range(heads):
        scores = q[:, h] @ k[:, h].T / math.sqrt(q.shape[-1])
        seen.append(scores.softmax(-1) @ v[:, h])
    out = attention.output
    return out.LayerNorm(out.dense(torch.cat(seen, dim=-1)) + x)


def q_former(reader, states, ids):
    """Learned queries read one frame's patches, or all [CLS], together with the question: (n, H)."""
    model, queries = reader.model, reader.queries.weight
    places = torch.arange(len(ids))
    words = model.embeddings.word_embeddings(ids) + model.embeddings.position_embeddings(places)
    x = model.embeddings.layernorm(torch.cat([queries, words]))
    for layer in model.encoder.layer:
        x = attend(layer.attention, x, x)
        asked, text = x[: len(queries)], x[len(queries) :]
        if layer.has_cross_attention:
            asked = attend(layer.crossattention, asked, states)
        asked = layer.output_query(layer.intermediate_query(asked), asked)
        x = torch.cat([asked, layer.output(layer.intermediate(text), text)])
    return x[: len(queries)]


def merge_equal(S, V, gamma):
    """Eq. 2 to 5: every frame that is left takes all that are like it; V is a list of V*_l."""
    left, kept = list(range(len(S))), []
    while left:
        alpha = left[0]
        cosines = [float(S[alpha] @ S[b] / (S[alpha].norm() * S[b].norm())) for b in left]
        D = {b for b, c in zip(left, cosines) if c >= gamma - 1e-6} | {alpha}  # eq. 2
        left = [b for b in left if b not in D]  # eq. 3
        kept.append(sum(V[b] for b in sorted(D)) / len(D))  # eq. 4, 5
    return kept


def halve(tokens):
    """Bipartite merging of half the tokens (ToMe): every token of A joins the one of B most like it."""
    features, sizes = tokens
    A, B, a, b = features[::2], features[1::2], sizes[::2], sizes[1::2]
    goal = (torch.nn.functional.normalize(A, dim=-1) @ torch.nn.functional.normalize(B, dim=-1).T).argmax(-1)
    total, size = B * b[:, None], b.clone()
    for i, j in enumerate(goal.tolist()):
        total[j], size[j] = total[j] + A[i] * a[i], size[j] + a[i]
    return total / size[:, None], size


def as_the_text_has_it(model, cls, patches, gamma, limit):
    """Tokens for the language model, of one video: Sec. 3.2 to 3.5."""
    Q = model.frame_selector.proj(q_former(model.frame_selector.reader, cls, QUESTION[0]))
    S = torch.nn.functional.one_hot((Q @ cls.T).argmax(-1), len(cls)).float()  # tau -> 0
    S = S[S.argmax(-1).argsort(stable=True)]
    V = merge_equal(S, [torch.einsum("t,tmc->mc", s, patches) for s in S], gamma)
    found = []
    for frame in V:
        tokens = q_former(model.token_sampler.reader, frame, QUESTION[0]), torch.ones(R)
        while len(tokens[0]) > limit:
            tokens = halve(tokens)
        found.append(tokens[0])
    bridge = model.multi_modal_projector
    return bridge.linear_2(torch.nn.functional.gelu(bridge.linear_1(torch.cat(found)))), len(V)


def ours(model, cls, patches, gamma, limit):
    config = type(model.config)(**model.config.to_dict() | {"gamma": gamma})
    [chosen] = model.select([cls], [torch.arange(len(cls)) * 0.5], QUESTION, config=config)
    budget = Budget(tokens=limit * len(chosen))
    rows = mixed(lambda frames: patches[frames], chosen)
    out = model.reduce_to_budget(rows, [chosen], QUESTION, config=config, budget=budget)
    return out.pooler_output[0], len(chosen)


@torch.no_grad()
@pytest.mark.parametrize("gamma", [0.01, 0.75, 1.0])
@pytest.mark.parametrize("frames", [1, 2, 5, 40])
def test_the_pipeline_gives_what_the_text_says(paper, frames, gamma):
    cls, patches = video(frames, seed=frames)
    for limit in (R, R // 2, 1):
        (expected, count), (found, chosen) = (
            how(paper, cls, patches, gamma, limit) for how in (as_the_text_has_it, ours)
        )
        assert chosen == count
        torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-4)


@torch.no_grad()
def test_a_video_of_equal_frames_is_one_frame(paper):
    cls, patches = (part.repeat_interleave(7, 0) for part in video(1))
    found, chosen = ours(paper, cls, patches, 0.75, R)
    assert chosen == 1
    torch.testing.assert_close(found, as_the_text_has_it(paper, cls[:1], patches[:1], 0.75, R)[0])


@torch.no_grad()
def test_below_one_token_a_frame_the_budget_still_holds(paper):
    """The text has no rule for it; halving ends at one token a frame, ours leaves frames out."""
    cls, patches = video(40, seed=3)
    [chosen] = paper.select([cls], [torch.arange(40.0)], QUESTION)
    assert len(chosen) > 2
    rows = mixed(lambda frames: patches[frames], chosen)
    assert paper.reduce_to_budget(rows, [chosen], QUESTION, budget=Budget(tokens=2)).lengths == [2]


@pytest.mark.parametrize("gamma", [0.5, 0.75, 1.0])
@pytest.mark.parametrize("tau", [0.1, 0.5])
def test_noisy_rows_are_chosen_ordered_and_averaged_by_the_text(tau, gamma):
    """Training: eq. 1 with noise. A round of eq. 2 to 5 is the text's; more, on the means, are ours."""
    compared = 0
    for seed in range(40):
        logits = 3 * torch.randn(8, 30, generator=torch.Generator().manual_seed(seed))
        drawn = torch.empty(8, 30).exponential_(generator=torch.Generator().manual_seed(seed))
        S = ((logits - drawn.log()) / tau).softmax(-1)  # -log of an exponential draw is a Gumbel draw
        seconds = torch.arange(30.0)
        S = S[(S @ seconds).argsort(stable=True)]
        expected = merge_equal(S, list(S), gamma)
        again = merge_equal(torch.stack(expected), expected, gamma)
        chosen = select(
            logits, seconds, merging=SimilarFrameMerging(gamma), mode="gumbel", tau=tau,
            generator=torch.Generator().manual_seed(seed),
        )  # fmt: skip
        if len(again) == len(expected):  # no second round: all is the text's
            compared += 1
            rows = torch.stack(expected)
            rows = rows[rows.argmax(-1).argsort(stable=True)]
            torch.testing.assert_close(chosen.weights, rows, atol=1e-5, rtol=1e-4)
        else:
            assert len(chosen) < len(expected)
    assert compared >= 30


def test_equal_soft_rows_are_one_at_any_threshold():
    """gamma 1 merges equal rows, though the cosine of a row with itself may round to less than 1."""
    for seed in range(50):
        generator = torch.Generator().manual_seed(seed)
        S = choose(torch.randn(3, 17, generator=generator), tau=0.5, mode="softmax")[[0, 1, 2, 1, 0]]
        S = S[order_by_time(S, torch.arange(17.0))]
        assert len(SimilarFrameMerging(1.0).assign(S)) == 3
