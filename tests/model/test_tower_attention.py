"""Attention that is recomputed is the attention that a tower computes, and the tower is left as it was."""

import copy
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from transformers import (
    CLIPVisionConfig,
    CLIPVisionModel,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    InstructBlipVisionConfig,
    InstructBlipVisionModel,
    SiglipVisionConfig,
    SiglipVisionModel,
)

from bvllm.model import tower_attention
from bvllm.model.tower_attention import TowerReader, lookers_of
from bvllm.model.vision_tower import tower_of
from bvllm.stages.patch_signals import PatchSignals
from bvllm.stages.reading import Reading
from bvllm.types import Budget
from tests.model import tiny

SIZES = {
    "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "image_size": 16, "patch_size": 4,
}  # fmt: skip
TOWERS = {
    "clip": (CLIPVisionModel, CLIPVisionConfig(**SIZES, intermediate_size=24)),
    "siglip": (SiglipVisionModel, SiglipVisionConfig(**SIZES, intermediate_size=24)),
    "instructblip": (InstructBlipVisionModel, InstructBlipVisionConfig(**SIZES, intermediate_size=24)),
    "dino": (Dinov2WithRegistersModel, Dinov2WithRegistersConfig(**SIZES, num_register_tokens=2)),
}


def made(name):
    torch.manual_seed(3)
    kind, config = TOWERS[name]
    tower = kind(copy.deepcopy(config)).eval()
    for weight in tower.parameters():
        torch.nn.init.normal_(weight, std=0.4)
    return tower


def pixels(count=2, seed=0):
    return torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(seed))


def read(tower, reading, layer=-1, shown=None):
    reader = TowerReader(tower, reading, layer)
    with torch.no_grad(), reader.watching():
        tower(pixel_values=pixels() if shown is None else shown)
    return reader.read(tower_of(tower.config).prefix(tower.config))


@pytest.mark.parametrize("name", TOWERS)
@pytest.mark.parametrize("layer", [-1, -2])
def test_it_is_what_eager_attention_says(name, layer, monkeypatch):
    monkeypatch.setattr(tower_attention, "QUERIES_AT_A_TIME", 5)  # several parts of a small map
    tower = made(name)
    eager = copy.deepcopy(tower)
    eager.set_attn_implementation("eager")
    with torch.no_grad():
        maps = eager(pixel_values=pixels(), output_attentions=True).attentions
    end, prefix = len(maps) + layer + 1, tower_of(tower.config).prefix(tower.config)
    for looker in lookers_of(tower) - {"head"}:
        for layers in (1, 2):
            row = [
                m.mean(dim=1)[:, 0] if looker == "cls" else m.mean(dim=(1, 2))
                for m in maps[end - layers : end]
            ]
            found = read(tower, Reading((looker,), layers), layer)
            torch.testing.assert_close(found.attention, sum(row)[:, prefix:])
    assert tower.config._attn_implementation == "sdpa"


def test_keys_are_those_of_the_layer_and_its_heads_mean():
    tower, kept = made("clip"), []
    block = tower.encoder.layers[1].self_attn
    hook = block.k_proj.register_forward_hook(lambda _, __, out: kept.append(out))
    found = read(tower, Reading(keys=True), -2)
    hook.remove()
    want = kept[0].unflatten(-1, (2, 8)).mean(dim=2)[:, 1:]
    torch.testing.assert_close(found.keys, want)
    assert found.attention is None


def test_a_pooling_head_attends_as_it_pools():
    """With one head, the weights times the values are what comes out of it."""
    tower = SiglipVisionModel(
        SiglipVisionConfig(**{**SIZES, "num_attention_heads": 1}, intermediate_size=24)
    ).eval()
    states = []
    hook = tower.head.attention.register_forward_hook(lambda _, args, out: states.append((args[1], out[0])))
    found = read(tower, Reading(("head",)))
    hook.remove()
    (x, pooled), part = states[0], tower.head.attention
    values = x @ part.in_proj_weight[-16:].T + part.in_proj_bias[-16:]
    torch.testing.assert_close(part.out_proj(found.attention[:, None] @ values), pooled)
    assert lookers_of(tower) == {"head", "received"}


def test_nothing_of_the_tower_changes_even_when_it_fails():
    tower = made("clip")
    with torch.no_grad():
        before = tower(pixel_values=pixels()).last_hidden_state
    reader = TowerReader(tower, Reading(("cls",), 2, keys=True))
    with pytest.raises(ZeroDivisionError), reader.watching():
        1 / 0  # noqa: B018
    assert not any(m._forward_pre_hooks or m._forward_hooks for m in tower.modules())
    read(tower, Reading(("cls",)))
    assert not any(m._forward_pre_hooks or m._forward_hooks for m in tower.modules())
    assert all("asked" not in vars(m) for m in tower.modules())
    with torch.no_grad():
        assert torch.equal(tower(pixel_values=pixels()).last_hidden_state, before)
    with pytest.raises(RuntimeError, match="tower must run while it is watched, got no call"):
        TowerReader(tower, Reading(("cls",))).read(1)


def test_threads_read_each_their_own():
    tower = made("clip")
    shown = [pixels(1, seed) for seed in range(12)]
    alone = [read(tower, Reading(("cls",), keys=True), shown=x) for x in shown]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda x: read(tower, Reading(("cls",), keys=True), shown=x), shown))
    for one, other in zip(alone, together):
        assert torch.equal(one.attention, other.attention)
        assert torch.equal(one.keys, other.keys)


def test_what_a_tower_cannot_give_is_refused():
    with pytest.raises(
        ValueError, match="must give attention of cls, got a siglip_vision_model that gives head"
    ):
        TowerReader(made("siglip"), Reading(("cls",)))
    with pytest.raises(ValueError, match="layer must be what leaves a layer of the vision tower, got 0"):
        TowerReader(made("clip"), Reading(("cls",)), 0)
    with pytest.raises(
        ValueError, match=r"must go by the same attention, got cls over 1 and cls over 4 layers"
    ):
        Reading(("cls",)).together(Reading(("cls",), 4))


def test_frames_are_joined_and_cut_again():
    parts = [PatchSignals(torch.ones(2, 3) * k, None) for k in range(2)]
    whole = PatchSignals.of_frames(parts)
    assert whole.attention.shape == (4, 3)
    assert whole.keys is None
    assert [clip.attention[:, 0].tolist() for clip in whole.of_clips([1, 3])] == [[0.0], [0.0, 1.0, 1.0]]


@torch.no_grad()
@pytest.mark.parametrize("sampler", ["qformer", "none"])
def test_a_bvllm_merges_by_what_its_tower_attends_to(sampler):
    """From pixels, as in training, and in two passes, as in inference: the same tokens, by attention."""
    settings = {
        "merge_tokens": "fastervlm",
        "sample_tokens": sampler,
        "clock": False,
        "select_frames": "uniform",
    }
    config = tiny.config(vision_config=tiny.vision_config(num_hidden_layers=3), **settings)
    model = tiny.BVLLMForConditionalGeneration(config).eval().model
    shown, seconds = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(2)), torch.arange(3.0)
    question = torch.ones(1, 3, dtype=torch.long), torch.ones(1, 3, dtype=torch.long)
    whole = model.get_video_features(shown, torch.tensor([3]), seconds, *question)
    [chosen] = model.select([seconds[:, None]], [seconds], *question)
    patches, seen = model.read_patches(shown, Reading(("cls",)))
    torch.testing.assert_close(patches, model.encode_patches(shown))
    [again] = model.reduce_to_budget(patches, [chosen], *question, seen=[seen]).pooler_output
    assert torch.equal(whole.pooler_output[0], again)
    noise = PatchSignals(torch.rand_like(seen.attention))
    [other] = model.reduce_to_budget(patches, [chosen], *question, seen=[noise]).pooler_output
    assert not torch.equal(again, other)
    with pytest.raises(ValueError, match="method FasterVLM must give attention, got one that gives"):
        model.reduce_to_budget(patches, [chosen], *question, budget=Budget(5, 4))
