"""Packed rows through the language model: what transformers gives, without the padding."""

import pytest
import torch
from transformers import Qwen2Config, Qwen2Model

from bvllm.nano.packed import run_packed

LENGTHS = torch.tensor([40, 3, 17, 22, 5, 39, 11])


@pytest.fixture(params=[4, 2], ids=["as many keys as queries", "shared keys"])
def language_model(request):
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=30, hidden_size=64, intermediate_size=128, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=request.param, initializer_range=0.1,
    )  # fmt: skip
    model = Qwen2Model._from_config(config, attn_implementation="eager")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_()
    return model


def rows():
    torch.manual_seed(1)
    mask = (torch.arange(40) < LENGTHS[:, None]).long()
    return torch.randn(len(LENGTHS), 40, 64, requires_grad=True), mask


@pytest.fixture(params=[False, True], ids=["short rows", "long rows"])
def fused(request, monkeypatch):
    if request.param:
        monkeypatch.setattr("bvllm.nano.packed.FUSED_FROM", 1)


def apart(one, other):
    return float((one - other).detach().norm() / one.detach().norm())


def test_hidden_states_and_gradients_are_those_of_transformers(language_model, fused):
    embedded, mask = rows()
    here = mask.bool()
    own = language_model(inputs_embeds=embedded, attention_mask=mask, use_cache=False).last_hidden_state[here]
    packed = run_packed(language_model, embedded, mask)
    assert apart(own, packed[here]) < 0.02  # bfloat16
    assert not packed[~here].any()
    weight = language_model.layers[0].self_attn.k_proj.weight
    direct = torch.autograd.grad(own.sin().sum(), [embedded, weight])
    found = torch.autograd.grad(packed[here].sin().sum(), [embedded, weight])
    assert all(apart(a, b) < 0.05 for a, b in zip(direct, found, strict=True))


def test_no_row_hears_of_another_nor_of_what_comes_later(language_model, fused):
    embedded, mask = rows()
    before = run_packed(language_model, embedded, mask)
    changed = embedded.detach().clone()
    changed[3] = 5.0
    changed[0, 20:] = -5.0
    after = run_packed(language_model, changed, mask)
    others = [0, 1, 2, 4, 5, 6]
    assert torch.equal(before[0, :20], after[0, :20])
    assert all(torch.allclose(before[k], after[k], atol=1e-6) for k in others[1:])
    assert not torch.allclose(before[3, : LENGTHS[3]], after[3, : LENGTHS[3]], atol=0.1)
