"""What is read of the vision towers of transformers' video models, token by token."""

import copy

import pytest
import torch
from transformers import AttentionInterface

from bvllm.common.text import Question
from bvllm.inference.balance import balance
from bvllm.methods.names import MethodNames
from bvllm.model.backbones.attention import TOWERS, lookers_in
from bvllm.model.backbones.families import FAMILIES
from bvllm.model.tower_attention import LAYERS, WITH_CLS
from bvllm.stages.reading import Reading
from bvllm.types import Budget, FrameSelection
from tests.model.backbones.tiny_families import make

SIDE = 24
RECEIVED = Reading(("received",), keys=True)


def pictures(count=2):
    generator = torch.Generator().manual_seed(3)
    return torch.randint(0, 256, (count, 3, SIDE, SIDE), generator=generator, dtype=torch.uint8)


@pytest.fixture(scope="module", params=sorted(TOWERS))
def wrapped(request):
    return balance(*make(request.param), pipeline="uniform", frame_size=(SIDE, SIDE))


def tower_and_block(wrapped):
    """The tower, and the layer whose output the patches are."""
    record = TOWERS[wrapped.model.config.model_type]
    tower = wrapped.model.base_model.get_submodule(record.name)
    blocks = tower.get_submodule(LAYERS[tower.config.model_type][0])
    layer = wrapped.model.config.vision_feature_layer if record.layered else -1
    return tower, blocks[range(len(blocks) + 1)[layer] - 1]


def test_every_family_gives_attention_but_those_of_timm():
    assert set(FAMILIES) - set(TOWERS) == {"perception_lm"}


@torch.no_grad()
def test_tokens_are_the_same_with_and_without_reading(wrapped):
    plain = wrapped.patch_features(pictures())
    tokens, (attention, keys) = wrapped.read_patches(pictures(), RECEIVED)
    assert torch.equal(tokens, plain)
    assert attention.shape == plain.shape[:2]
    assert keys.shape == (*plain.shape[:2], 8)
    assert (attention[0] - attention[1]).abs().max() > 1e-6
    assert (keys[0] - keys[1]).abs().max() > 1e-3


@torch.no_grad()
def test_it_is_the_attention_that_makes_the_tower_s_output(wrapped):
    """A plain softmax in the kernel's place gives the same tokens; its mean is what was read."""
    seen = []

    def plain(module, query, key, value, mask=None, scaling=None, **_):
        weights = (query @ key.mT * scaling).softmax(dim=-1)
        seen.append((module, weights))
        return (weights @ value).transpose(1, 2), None

    tokens, signals = wrapped.read_patches(pictures(1), RECEIVED)
    AttentionInterface.register("plain_softmax", plain)
    model = copy.deepcopy(wrapped.model)
    twin = balance(model, wrapped.processor, pipeline="uniform", frame_size=(SIDE, SIDE))
    tower, block = tower_and_block(twin)
    for module in tower.modules():
        if hasattr(module, "config"):
            module.config._attn_implementation = "plain_softmax"
    torch.testing.assert_close(twin.patch_features(pictures(1)), tokens, atol=1e-5, rtol=1e-4)
    mine = [w.mean(dim=(0, 1, 2)) for module, w in seen if module in list(block.modules())]
    record = TOWERS[model.config.model_type]
    prefix = 0 if record.keeps_prefix else int(tower.config.model_type in WITH_CLS)
    known = torch.cat(mine)[prefix:][None, :, None]
    expected = record.to_tokens(known, wrapped._grid(tokens.shape[1]), model.config)[..., 0]
    torch.testing.assert_close(signals.attention, expected, atol=1e-6, rtol=1e-4)


@torch.no_grad()
def test_a_token_has_the_attention_of_the_patches_it_is_made_of(wrapped):
    """A patch that is disturbed behind the last layer changes just the tokens that its attention goes to."""
    tower, block = tower_and_block(wrapped)
    record = TOWERS[wrapped.model.config.model_type]
    prefix = 0 if record.keeps_prefix else int(tower.config.model_type in WITH_CLS)
    before = wrapped.patch_features(pictures(1))[0]
    patches = 37 if record.keeps_prefix else 36
    for patch in (0, 1, 7, 15, 22, 35):

        def disturb(_, __, output, patch=patch):
            states = output.clone()
            states.view(-1, states.shape[-1])[prefix + patch] += torch.linspace(-9, 9, states.shape[-1])
            return states

        hook = block.mlp.register_forward_hook(disturb)
        after = wrapped.patch_features(pictures(1))[0]
        hook.remove()
        one = torch.zeros(1, patches, 1)
        one[0, patch] = 1
        to = record.to_tokens(one, wrapped._grid(len(before)), wrapped.model.config)[0, :, 0] > 0
        assert torch.equal((after - before).abs().amax(dim=1) > 1e-4, to), patch


@torch.no_grad()
def test_methods_go_by_it_or_are_refused_by_name(wrapped):
    asked = wrapped.read(Question("what colour is the star"))
    patches, seen = wrapped.read_patches(pictures(), RECEIVED)
    chosen = FrameSelection.of(torch.arange(2), torch.tensor([0.0, 3.0]).double())
    budget = Budget(tokens=6 + wrapped.family.tail)
    names = MethodNames(merge_tokens="fopru", select_frames="none")
    tokens = wrapped.reduce(patches, chosen, asked, budget, names, seen).tokens[0]
    columns = wrapped._grid(patches.shape[1])[1]
    for frame, attention in enumerate(seen.attention):
        mine = tokens.frame == frame
        kept = tokens.row[mine] * columns + tokens.column[mine]
        assert set(kept.tolist()) == set(attention.topk(3).indices.tolist())
    with pytest.raises(ValueError, match="method FoPru must give attention, got one that gives"):
        wrapped.reduce(patches, chosen, asked, budget, names)
    gives = lookers_in(wrapped.model)
    for name, lookers in (("vtc_cls", {"cls"}), ("siglip_head", {"head"}), ("fastervlm", {"cls", "head"})):
        if gives & lookers:
            assert wrapped.methods(MethodNames(merge_tokens=name))["merge_tokens"] == name
        else:
            with pytest.raises(
                ValueError, match=f"merge_tokens must be a method .* got '{name}', which goes by"
            ):
                wrapped.methods(MethodNames(merge_tokens=name))
