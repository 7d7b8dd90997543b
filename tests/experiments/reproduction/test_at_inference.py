"""Numbers that change at inference change the model's choice, and nothing that was trained."""

import copy

import pytest
import torch

from experiments.reproduction.at_inference import AtInference, choosing, fewer
from experiments.reproduction.variants import FULL, NO_MERGING
from tests.model import tiny

FRAMES = 9


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return tiny.model().eval()


@torch.inference_mode()
def chosen(model, *, softly=False):
    """The selection of one clip, and its visual tokens."""
    noise = torch.Generator().manual_seed(1)
    config = model.config.vision_config
    frames = torch.randn(FRAMES, config.hidden_size, generator=noise)
    ids, mask = torch.arange(5, 11)[None], torch.ones(1, 6, dtype=torch.long)
    with choosing(model, softly=softly):
        [found] = model.model.select([frames], [torch.arange(FRAMES).double()], ids, mask)
    patches = torch.randn(len(found), 16, config.hidden_size, generator=noise)
    return found, model.model.reduce_to_budget(patches, [found], ids, mask)


def test_fewer_queries_are_spread_over_the_trained_ones(model):
    made = fewer(model, 2, 1)
    trained, kept = (m.model.frame_selector.reader.queries.weight for m in (model, made))
    assert torch.equal(kept, trained[[1, 3]])
    assert len(made.model.token_sampler.reader.queries.weight) == 1
    assert len(trained) == model.config.num_selected_frames == 4
    found, visual = chosen(made)
    assert len(found) <= 2
    assert visual.lengths[0] == len(found)


@pytest.mark.parametrize("asked, said", [({"frames": 5}, "frames"), ({"tokens": 5}, "tokens")])
def test_more_queries_than_were_trained_are_refused(model, asked, said):
    with pytest.raises(ValueError, match=rf"{said} must lie in 1\.\.4, got 5"):
        AtInference(**asked).applied(model)


def test_a_smaller_theta_is_kept(model):
    plain, cut = chosen(model)[1], chosen(AtInference(budget=3).applied(model))[1]
    assert plain.lengths[0] > cut.lengths[0] == 3


def test_what_needs_no_weights_is_a_setting(model):
    plain = chosen(model)[0]
    agree = copy.deepcopy(model)
    queries = agree.model.frame_selector.reader.queries
    queries.weight = torch.nn.Parameter(queries.weight[:1].expand(4, -1).clone())  # all after one frame
    assert len(chosen(agree)[0]) == 1 < len(chosen(AtInference(second_choices=0.01).applied(agree))[0])
    free = AtInference(strength=1e-9).applied(model)
    assert len(chosen(free)[0]) == FRAMES > model.config.num_selected_frames
    assert len(chosen(AtInference(strength=1.0).applied(model))[0]) == 1 < len(plain)
    assert chosen(free)[1].lengths[0] == model.config.budget_tokens
    assert model.config.least_strength == 0


def test_a_model_without_a_token_sampler_thins_what_it_merged():
    torch.manual_seed(0)
    patches = tiny.model(token_sampler="none", tokens_per_frame=16).eval()
    thinned = AtInference(merge="none").applied(patches)
    assert (patches.config.merge_tokens, thinned.config.merge_tokens) == ("bipartite", "none")
    merged, left = (chosen(model)[1].tokens[0] for model in (patches, thinned))
    assert len(merged) == len(left) == patches.config.budget_tokens
    assert merged.size.sum() > left.size.sum()


def test_tau_and_gamma_act_on_a_soft_choice_alone(model):
    sharp, dull = (AtInference(tau=tau, gamma=1.0).applied(model) for tau in (0.05, 50.0))
    hard = chosen(model)[0].weights
    assert torch.equal(chosen(sharp)[0].weights, chosen(dull)[0].weights)
    soft = chosen(dull, softly=True)[0].weights
    assert soft.max() < 0.2 < chosen(sharp, softly=True)[0].weights.max()
    assert torch.equal(chosen(dull, softly=True)[0].weights, soft)  # without noise
    assert set(hard.unique().tolist()) <= {0.0, 1.0}
    alike = AtInference(tau=50.0, gamma=0.5).applied(model)
    assert len(chosen(alike, softly=True)[0]) == 1 < len(soft)  # rows that are nearly even merge


def test_parts_stay_in_evaluation_while_a_choice_is_soft(model):
    with choosing(model, softly=True):
        assert model.model.training
        assert not any(part.training for part in model.model.children())
    assert not model.model.training


def test_a_variant_at_inference_is_trained_as_its_own():
    made = NO_MERGING.at(frames=8, budget=32)
    assert (made.name, made.trained) == ("no-tm@L8-theta32", NO_MERGING)
    assert FULL.at(strength=0.2, frames=8).name == "full@L8-strength0.2"
    assert FULL.at(tau=0.1).inference.soft
    assert not made.inference.soft
