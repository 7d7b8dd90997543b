"""Attention of a vision tower on a CPU: torch's fused kernel, or, where that is slow, the same in steps.

In bfloat16 the fused kernel computes scores in float32 and is made for AMX. A CPU without it (AVX-512 alone)
is faster with whole matrices: scores in float32, as the fused kernel has them, and their sum over the values
in bfloat16. Scores in bfloat16 would be faster still, but of large ones the rounding would show.
"""

import torch
from torch import Tensor
from torch.nn import functional

from bvllm.model.cpu import has_amx

SCORES_AT_A_TIME = 350_000  # float32: so many stay in the cache between the steps


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(d)) v for (t, heads, tokens, d) each, without a graph -> (t, tokens, heads, d).

    Example:
        >>> x = torch.eye(2).view(1, 1, 2, 2)
        >>> attention(x, 1000 * x, x)[0, :, 0].tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """
    if v.dtype == torch.bfloat16 and v.device.type == "cpu" and not has_amx():
        return in_steps(q, k, v)
    return functional.scaled_dot_product_attention(q, k, v).transpose(1, 2)


def in_steps(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """As `attention`; some heads at a time, so that their scores stay in the cache."""
    t, heads, tokens, width = q.shape
    count = t * heads
    exact_q, exact_k = (torch.empty(q.shape).copy_(x).view(count, tokens, width) for x in (q, k))
    exact_q.mul_(width**-0.5)
    values = v.contiguous().view(count, tokens, width)
    step = max(1, min(count, SCORES_AT_A_TIME // tokens**2))
    scores, weights = torch.empty(step, tokens, tokens), values.new_empty(step, tokens, tokens)
    found = torch.empty_like(values)
    for start in range(0, count, step):
        part = slice(start, min(start + step, count))
        size = part.stop - start
        torch.bmm(exact_q[part], exact_k[part].mT, out=scores[:size])
        torch.softmax(scores[:size], dim=-1, out=scores[:size])
        torch.bmm(weights[:size].copy_(scores[:size]), values[part], out=found[part])
    return found.view(t, heads, tokens, width).transpose(1, 2)
