"""What each method inside the language model goes by: its rule, step by step, and that noise changes it."""

from dataclasses import replace

import pytest
import torch
from torch.nn.functional import cosine_similarity

from bvllm.methods import METHODS
from bvllm.methods.prune_layers.density import density_centres
from bvllm.methods.prune_layers.sparsevlm import kept_of, raters, recycled_of
from bvllm.methods.prune_layers.visiondrop import VisionDropInner
from bvllm.primitives.assignment import Assignment
from bvllm.stages.prune_layers import InnerMethod, LayerView, decide_inside

INNER = METHODS["prune_layers"]
HEADS, GROUPS, WIDTH = 4, 2, 6
PLACES, FIRST, VISUAL = 70, 4, 60  # text, visual tokens, text


class Drawn:
    """Queries and keys of their own for every place."""

    scale = 1.0

    def __init__(self, seed: int) -> None:
        drawn = torch.Generator().manual_seed(seed)
        self.keys = torch.randn(GROUPS, PLACES, WIDTH, generator=drawn)
        self.every = torch.randn(HEADS, PLACES, WIDTH, generator=drawn)

    def queries(self, places):
        return self.every[:, places]

    def weights(self):
        """(H, S, S), as eager attention computes it."""
        keys = self.keys.repeat_interleave(HEADS // GROUPS, dim=0)
        behind = torch.ones(PLACES, PLACES, dtype=torch.bool).triu(1)
        return (self.every @ keys.transpose(1, 2)).masked_fill(behind, -torch.inf).softmax(dim=-1)


def a_view(seed: int = 0) -> LayerView:
    drawn = torch.Generator().manual_seed(seed)
    states = torch.randn(PLACES, 12, generator=drawn)
    visual = torch.arange(FIRST, FIRST + VISUAL)
    question = torch.arange(FIRST + VISUAL, PLACES)
    return LayerView(
        states=states,
        visual=visual,
        question=question,
        before=Drawn(seed + 1),
        own=Drawn(seed + 2),
        visual_inputs=torch.randn(VISUAL, 12, generator=drawn),
        question_inputs=torch.randn(len(question), 12, generator=drawn),
        final_norm=lambda x: x - x.mean(dim=-1, keepdim=True),
        transitions=torch.rand(VISUAL, generator=drawn),
    )


def top(scores, keep):
    return sorted(scores.topk(keep).indices.tolist())


def made(plan, view):
    return plan.combine(view.states[view.visual], torch.ones(VISUAL))


@pytest.mark.parametrize("name", INNER)
@pytest.mark.parametrize("keep", [1, 2, 7, VISUAL - 1])
def test_every_method_lands_on_its_count(name, keep):
    plan = decide_inside(INNER[name](), a_view(), keep)
    assert made(plan, a_view()).isfinite().all()
    assert len(set(plan.anchor.tolist())) == keep, "every output stands on a token of its own"


# What a method goes by, and what of a view holds it.
GOES_BY = {
    "fastv": ["before"],
    "pyramiddrop": ["own"],
    "sparsevlm": ["before", "visual_inputs", "states"],
    "dart": ["before", "states"],
    "transprune": ["own", "transitions"],
    "holitom": ["before", "states"],
    "aim": ["before"],
    "visiondrop": ["own"],
}
PARTS = sorted({part for parts in GOES_BY.values() for part in parts})


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("name", INNER)
def test_noise_in_place_of_what_it_goes_by_changes_the_choice(name, part):
    """And noise in the place of anything else does not."""
    view, noise = a_view(), a_view(seed=100)
    plans = [INNER[name]().decide(seen, 10) for seen in (view, replace(view, **{part: getattr(noise, part)}))]
    eye = torch.eye(VISUAL)
    same = torch.equal(*(plan.combine(eye, torch.ones(VISUAL)) for plan in plans))
    assert same is (part not in GOES_BY[name])


def test_pyramiddrop_and_fastv_as_released_ask_the_last_token():
    view = a_view()
    for method, shown in ((INNER["fastv"](released=True), view.before), (INNER["pyramiddrop"](), view.own)):
        scores = shown.weights().mean(dim=0)[-1, view.visual]
        assert method.decide(view, 9).anchor.tolist() == top(scores, 9)


def test_fastv_asks_every_token():
    view = a_view()
    scores = view.before.weights().mean(dim=0)[:, view.visual].mean(dim=0)
    assert INNER["fastv"]().decide(view, 9).anchor.tolist() == top(scores, 9)


def test_transprune_adds_change_and_the_questions_attention():
    view = a_view()
    asked = view.own.weights().mean(dim=0)[view.question][:, view.visual].mean(dim=0)
    scores = view.transitions / view.transitions.sum() + asked / asked.sum()
    assert INNER["transprune"]().decide(view, 9).anchor.tolist() == top(scores, 9)


def test_aim_ranks_by_five_rounds_over_sharpened_attention():
    view = a_view()
    sharp = (view.before.weights().log() / 0.1).softmax(dim=-1)
    share = torch.full((HEADS, 1, PLACES), 1 / PLACES)
    for _ in range(5):
        share = share @ sharp
    scores = share[:, 0].square().mean(dim=0).sqrt()[view.visual]
    assert INNER["aim"]().decide(view, 9).anchor.tolist() == top(scores, 9)


def test_a_prompt_that_ends_in_its_video_has_no_words_to_ask():
    """Change alone decides then, for TransPrune; before, every score was no number."""
    view = replace(a_view(), question=torch.arange(0))
    assert INNER["transprune"]().decide(view, 9).anchor.tolist() == top(view.transitions, 9)


def test_aim_drops_where_the_released_code_does():
    """A share is counted after a layer of 28, from the 15th on, and the next layer sees it."""
    behind = [max(0.0, 1.0 - (layer - 13) * 0.125) if layer >= 14 else 1.0 for layer in range(28)]
    assert list(INNER["aim"]().shape(28).shares) == [1.0, *behind[:-1]]


def test_dart_takes_what_is_least_like_its_pivots():
    """One pivot of each kind: the visual one, what it is least like, and what the word is least like."""
    view = a_view()
    norms = view.before.keys.abs().sum(dim=(0, 2))
    own, word = norms[view.visual].argmax(), view.question[norms[view.question].argmax()]
    states = view.final_norm(view.states)
    taken = [int(own)]
    for pivot, share in ((view.visual[own], 2), (word, 3)):
        likeness = cosine_similarity(states[pivot][None], states[view.visual])
        likeness[taken] = 9
        taken += likeness.argsort()[:share].tolist()
    found = replace(INNER["dart"](), pivots=1).decide(view, 6)
    assert found.anchor.tolist() == sorted(taken)


def test_darts_pivots_take_turns_as_in_a_set_where_released():
    view = a_view()
    given, released = (INNER["dart"](released=r).decide(view, 12).anchor.tolist() for r in (False, True))
    assert len(given) == len(released) == 12
    assert given != released


def test_among_states_that_are_equal_holitom_folds_into_what_is_looked_at_most():
    view = a_view()
    scores = view.before.weights().mean(dim=0)[-1, view.visual]
    keep = 4
    stay = top(scores, keep)
    states = view.states.clone()
    states[view.visual] = states[view.visual[0]].clone()  # all of them
    plan = INNER["holitom"]().decide(replace(view, states=states), keep)
    folded = plan.combine(torch.eye(VISUAL), torch.ones(VISUAL))
    best = stay.index(int(scores.argmax()))
    assert [(row > 0).sum().item() for row in folded] == [
        VISUAL - keep + 1 if k == best else 1 for k in range(keep)
    ]


def test_holitom_folds_one_after_the_other():
    view = a_view()
    keep = 4
    stay = top(view.before.weights().mean(dim=0)[-1, view.visual], keep)
    states = view.states[view.visual].clone()
    rest = [k for k in range(VISUAL) if k not in stay]
    likeness = cosine_similarity(states[rest][:, None], states[stay][None], dim=-1).argmax(dim=1)
    for token, target in zip(rest, likeness.tolist()):
        states[stay[target]] = (states[stay[target]] + states[token]) / 2
    plan = INNER["holitom"]().decide(view, keep)
    assert plan.anchor.tolist() == stay
    torch.testing.assert_close(made(plan, view), states[stay], atol=1e-5, rtol=1e-5)


def test_sparsevlm_keeps_by_the_words_that_matter_and_clusters_the_best_of_the_rest():
    view = a_view()
    likeness = (view.visual_inputs @ view.question_inputs.T).softmax(dim=1).mean(dim=0)
    words = view.question[likeness > likeness.mean()]
    assert raters(view).tolist() == words.tolist()
    assert 0 < len(words) < len(view.question)
    scores = view.before.weights().mean(dim=0)[words][:, view.visual].mean(dim=0)
    plan = INNER["sparsevlm"]().decide(view, 12)
    kept = kept_of(VISUAL, 12)
    assert plan.anchor[:kept].tolist() == top(scores, kept)
    rest = [k for k in range(VISUAL) if k not in plan.anchor[:kept].tolist()]
    recycled = {rest[k] for k in top(scores[rest], recycled_of(VISUAL - kept))}
    weights = plan.combine(torch.eye(VISUAL), torch.ones(VISUAL))
    assert set(weights[kept:].sum(dim=0).nonzero()[:, 0].tolist()) == recycled
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(12), msg="every output is a mean")


def test_sparsevlms_counts_are_the_released_ones():
    assert (kept_of(576, 309), kept_of(309, 204), kept_of(204, 113)) == (300, 200, 110)
    assert all(
        kept_of(count, keep) == keep
        or kept_of(count, keep) + recycled_of(count - kept_of(count, keep)) // 10 + 1 == keep
        for count in (9, 60, 200)
        for keep in range(1, count)
    )


def test_density_finds_the_heaps():
    heaps = torch.tensor([[0.0, 0.0], [9.0, 9.0], [-9.0, 9.0]])
    states = heaps.repeat_interleave(5, dim=0) + 0.1 * torch.randn(15, 2)
    centres, cluster = density_centres(states, 3)
    assert sorted(int(c) // 5 for c in centres) == [0, 1, 2]
    assert all(len(set(part.tolist())) == 1 for part in cluster.split(5))
    assert cluster[centres].tolist() == [0, 1, 2]


@pytest.mark.parametrize("convex", [False, True])
def test_visiondrop_adds_to_a_centre_the_mean_of_what_joins_it(convex):
    view = a_view()
    keep, contextual = 20, 3  # 15 %
    attention = view.own.weights().mean(dim=0)[view.visual][:, view.visual].mean(dim=0)
    stay = top(attention, keep - contextual)
    rest = [k for k in range(VISUAL) if k not in stay]
    centres = rest[:: len(rest) // contextual][:contextual]
    keys = view.own.keys.mean(dim=0)[view.visual]
    tokens, expected = view.states[view.visual], []
    joined = {
        k: cosine_similarity(keys[k][None], keys[centres]).argmax().item() for k in rest if k not in centres
    }
    for place, centre in enumerate(centres):
        others = [k for k, target in joined.items() if target == place]
        mean = tokens[others].mean(dim=0) if others else torch.zeros(12)
        both = tokens[centre] + mean
        expected.append(both / 2 if convex and others else both)
    plan = VisionDropInner(convex=convex).decide(view, keep)
    assert plan.anchor.tolist() == stay + centres
    torch.testing.assert_close(made(plan, view), torch.stack([*tokens[stay], *expected]))


def test_a_method_is_held_to_its_count():
    class Careless(InnerMethod):
        def decide(self, view, keep):
            return Assignment.keep(torch.arange(keep - 1), VISUAL)

    with pytest.raises(RuntimeError, match="method Careless must leave 5 of 60 tokens, got 4 of 60: mend"):
        decide_inside(Careless(), a_view(), 5)
