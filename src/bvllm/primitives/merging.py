"""Matching and merging in one step, to the last bit what ToMe's published steps give, with fewer passes."""

from dataclasses import dataclass

import torch
from torch import Tensor

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

    Only rows that something joins are added to and divided. Sums run in the dtype of `x`, closest first,
    as ToMe's do; `Assignment.mean` adds in the order of the tokens and may differ in the last bit.

    Args:
        x: (K, C) one vector per token, none all zero.
        size: (K,) how many tokens each one stands for.
        pairs: how many even rows join an odd one, at most K // 2.

    Errors:
        ValueError where `pairs` is outside 0..K // 2.

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
    weight = size.to(x.dtype)
    equal = bool((weight == 1).all())  # then there is nothing to multiply by, and most rows stay as they are
    summed, moved = x.index_select(0, anchor), x.index_select(0, source)
    if not equal:
        summed, moved = summed * weight[anchor, None], moved * weight[source, None]
    summed.index_add_(0, joined, moved)
    total = weight[anchor].index_add_(0, joined, weight[source])
    if not equal:
        return Merged(summed / total[:, None], total, anchor)
    touched = torch.unique(joined)
    means = summed.index_select(0, touched) / total[touched, None]
    return Merged(summed.index_copy_(0, touched, means), total, anchor)
