"""Where patches lie is told to whoever reads them."""

import pytest
import torch

from bvllm.stages.places import PatchPlaces
from bvllm.stages.sample_tokens import TokenSampler

from .parts import READERS, STATES, a_question


def shuffled_and_read(places, count=12):
    """Tokens of a frame, and of the same frame with its patches in another order."""
    torch.manual_seed(0)
    sampler, patches = TokenSampler(READERS["qformer"]()).eval(), torch.randn(1, count, STATES)
    for weight in sampler.parameters():
        torch.nn.init.normal_(weight, std=0.3)  # wide, so that it looks at some patches more than at others
    other, question = patches[:, torch.randperm(count)], a_question(1)
    return [sampler(places(frame), *question)[0] for frame in (patches, other)]


def test_without_places_the_order_of_patches_is_lost_and_with_them_it_counts():
    torch.testing.assert_close(*shuffled_and_read(lambda patches: patches), atol=1e-4, rtol=0)
    told, other = shuffled_and_read(PatchPlaces(STATES, 8, count=12, columns=4))
    assert (told - other).abs().max() > 1e-2


def test_each_patch_is_told_its_own_place_and_a_prefix_none():
    places, patches = PatchPlaces(STATES, 8, count=12, columns=4, prefix=1), torch.randn(2, 12, STATES)
    told = places(patches) - patches
    assert len(told[0].detach().round(decimals=4).unique(dim=0)) == 12
    torch.testing.assert_close(told[0], told[1])
    with_cls = torch.cat([torch.zeros(2, 1, STATES), patches], dim=1)
    found = places(with_cls)
    assert torch.equal(found[:, 0], with_cls[:, 0])
    torch.testing.assert_close(found[:, 1:], places(patches))


@pytest.mark.parametrize(
    "wrong, says",
    [
        (lambda: PatchPlaces(STATES, 0, count=12, columns=4), "place_channels must be at least 4, got 0"),
        (
            lambda: PatchPlaces(STATES, 6, count=12, columns=4),
            "place_channels must be a multiple of 4, got 6",
        ),
        (lambda: PatchPlaces(STATES, 8, count=12, columns=5), "columns must divide the 12 patches .* got 5"),
        (
            lambda: PatchPlaces(STATES, 8, count=12, columns=4)(torch.zeros(1, 8, STATES)),
            "patches must be 12 a frame, got 8",
        ),
        (
            lambda: PatchPlaces(STATES, 8, count=12, columns=4, prefix=1)(torch.zeros(1, 20, STATES)),
            "patches must be 12 a frame, got 20",
        ),
    ],
)
def test_messages(wrong, says):
    with pytest.raises(ValueError, match=says):
        wrong()
