"""Match and merge in one step, bit for bit what ToMe's published steps give, with fewer passes."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from bvllm.primitives.matching import closest_pairs


@dataclass(frozen=True)
class Merged:
    """What is left of K tokens after some pairs became one.

    Shapes: features (K', C); size (K',) how many tokens each row stands for; anchor (K',) the token each row
    stands on, ascending.
    """

    features: Tensor
    size: Tensor
    anchor: Tensor


def merge_bipartite(x: Tensor, size: Tensor, pairs: int) -> Merged:
    """Join the `pairs` most similar couples of `match_bipartite`; each becomes its mean, weighed by size.

    Sums run closest first, as ToMe's do; `Assignment.mean` adds in the order of the tokens and may differ in
    the last bit. Half precision is summed in float32 and rounded once.

    Args:
        x: (K, C) one vector per token, none all zero.
        size: (K,) how many tokens each one stands for.
        pairs: how many even rows join an odd one, at most K // 2.

    Raises:
        ValueError: `pairs` is outside 0..K // 2.

    Source: ToMe (arXiv 2210.09461), Sec. 3, and its weighted average.

    Example:
        >>> x = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 3.0]])
        >>> merged = merge_bipartite(x, torch.ones(3), pairs=1)
        >>> merged.features.tolist(), merged.size.tolist(), merged.anchor.tolist()
        ([[1.0, 0.0], [0.0, 2.0]], [1.0, 2.0], [0, 1])
    """
    source, goal = closest_pairs(x, pairs)
    stays = torch.ones(len(x), dtype=torch.bool, device=x.device)
    stays[source] = False
    anchor = stays.nonzero()[:, 0]
    joined = (stays.cumsum(0) - 1)[goal]
    # Every row with its group's number: first what the group stands on, then who joins it, closest first.
    group = torch.cat([torch.arange(len(anchor), device=x.device), joined])
    row = torch.cat([anchor, source])[group.argsort(stable=True)]
    members = torch.bincount(group, minlength=len(anchor))
    wide = torch.promote_types(x.dtype, torch.float32)
    weight = size.to(wide)
    # One pass over x and no copy of it. Where all weigh the same there is nothing to multiply by.
    weighed = x.to(wide) if bool((weight == 1).all()) else x.to(wide) * weight[:, None]
    summed = functional.embedding_bag(row, weighed, members.cumsum(0) - members, mode="sum")
    total = weight[anchor].index_add_(0, joined, weight[source])
    return Merged(summed.div_(total[:, None]).to(x.dtype), total, anchor)
