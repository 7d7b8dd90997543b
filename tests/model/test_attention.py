"""Attention in steps is as exact as torch's fused kernel, for flat and for sharp scores."""

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from bvllm.model import attention as module
from bvllm.model.attention import attention, in_steps


def drawn(sharpness, tokens=37):
    """q, k, v as a tower hands them over: views of one product."""
    generator = torch.Generator().manual_seed(tokens)
    qkv = torch.randn(2, tokens, 3, 5, 16, generator=generator)
    qkv[:, :, :2] *= sharpness
    return qkv.bfloat16().permute(2, 0, 3, 1, 4).unbind()


def error(found, wanted):
    return float((found.double() - wanted).norm() / wanted.norm())


@pytest.mark.parametrize("sharpness", [0.3, 1.0, 3.0])
def test_it_is_as_near_to_exact_numbers_as_the_fused_kernel(sharpness):
    q, k, v = drawn(sharpness)
    exact = scaled_dot_product_attention(q.double(), k.double(), v.double()).transpose(1, 2)
    fused = scaled_dot_product_attention(q, k, v).transpose(1, 2)
    found = in_steps(q, k, v)
    assert (found.shape, found.dtype) == (exact.shape, torch.bfloat16)
    assert 0 < error(found, exact) <= 1.35 * error(fused, exact)


def test_how_many_heads_go_together_changes_nothing(monkeypatch):
    whole = in_steps(*drawn(1.0))
    monkeypatch.setattr(module, "SCORES_AT_A_TIME", 3 * 37**2)  # ten heads: three, three, three, one
    assert torch.equal(in_steps(*drawn(1.0)), whole)
    monkeypatch.setattr(module, "SCORES_AT_A_TIME", 1)
    assert torch.equal(in_steps(*drawn(1.0)), whole)


@pytest.mark.parametrize("amx", [True, False])
def test_where_the_fused_kernel_is_fast_it_is_used(amx, monkeypatch):
    monkeypatch.setattr(module, "has_amx", lambda: amx)
    q, k, v = drawn(1.0)
    fused = scaled_dot_product_attention(q, k, v).transpose(1, 2)
    assert torch.equal(attention(q, k, v), fused if amx else in_steps(q, k, v))
    exact = scaled_dot_product_attention(q.float(), k.float(), v.float()).transpose(1, 2)
    assert torch.equal(attention(q.float(), k.float(), v.float()), exact)
