"""Compute attention weights of a few queries, in float32, apart from the kernel that runs the layer."""

import torch
from torch import Tensor


def causal_weights(queries: Tensor, keys: Tensor, places: Tensor, scale: float) -> Tensor:
    """How much each of some queries attends to every key that is not behind it.

    The kernel that runs the layer never gives these numbers away, so the rows that a method asks for are
    computed again; the layer itself keeps its fused kernel.

    Args:
        queries: (H, R, d) rotated queries of R places.
        keys: (G, S, d) rotated keys of all places; each serves H / G heads, as in grouped-query attention.
        places: (R,) which places the queries stand at.
        scale: what products are multiplied by before the softmax.

    Returns:
        (H, R, S) float32; each row sums to 1, and is 0 behind its own place.

    Example:
        >>> causal_weights(torch.zeros(1, 1, 4), torch.zeros(1, 3, 4), torch.tensor([1]), 1.0).tolist()
        [[[0.5, 0.5, 0.0]]]
    """
    heads, groups = len(queries), len(keys)
    wide = torch.promote_types(queries.dtype, torch.float32)
    grouped = (queries.to(wide) * scale).reshape(groups, heads // groups, *queries.shape[1:])
    products = torch.einsum("ghrd,gsd->ghrs", grouped, keys.to(wide)).flatten(0, 1)
    behind = torch.arange(keys.shape[1], device=keys.device) > places[:, None]
    return products.masked_fill(behind, -torch.inf).softmax(dim=-1)


def causal_blocks(queries: Tensor, keys: Tensor, scale: float, rows: int = 256) -> list[Tensor]:
    """How much every place of one head attends to every place that is not behind it, in blocks of rows.

    What lies behind a block is never computed, so that all blocks together are half of the square.

    Args:
        queries, keys: (S, d) rotated, of all places.
        scale: what products are multiplied by before the softmax.
        rows: of a block, but for the last.

    Returns:
        (R, E) float32 each, for the places E - R to E - 1; each row sums to 1.

    Example:
        >>> [tuple(block.shape) for block in causal_blocks(torch.zeros(5, 4), torch.zeros(5, 4), 1.0, rows=2)]
        [(2, 2), (2, 4), (1, 5)]
    """
    wide = torch.promote_types(queries.dtype, torch.float32)
    asked, begin = keys.to(wide).T.contiguous(), 0
    blocks: list[Tensor] = []
    for part in torch.split(queries.to(wide) * scale, rows):
        products = part @ asked[:, : begin + len(part)]
        behind = torch.ones(len(part), len(part), dtype=torch.bool, device=keys.device).triu(1)
        products[:, begin:].masked_fill_(behind, -torch.inf)
        blocks.append(products.softmax(dim=-1))
        begin += len(part)
    return blocks
