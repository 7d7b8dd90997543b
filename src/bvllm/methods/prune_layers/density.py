"""Cluster a few states by density, as DPC-KNN does."""

import torch
from torch import Tensor


def density_centres(states: Tensor, clusters: int) -> tuple[Tensor, Tensor]:
    """Choose centres that are dense and far from denser ones, and send every state to the nearest.

    Args:
        states: (N, D), N at least `clusters`.
        clusters: how many; as many neighbours make the density.

    Returns:
        (clusters,) the centres and (N,) the cluster of each state; a centre is in its own.

    Source: density peak clustering with k nearest neighbours, as SparseVLM's released code does it.

    Example:
        >>> centres, cluster = density_centres(torch.tensor([[0.0], [0.1], [5.0], [5.1]]), 2)
        >>> cluster.tolist()
        [0, 0, 1, 1]
    """
    x = states.float()
    # Not by matrix products, which put like states of a large mean apart from themselves.
    distance = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist") / x.shape[1] ** 0.5
    nearest = distance.topk(clusters, largest=False).values
    density = (-nearest.square().mean(dim=1)).exp()
    # Of equals, the first counts as denser.
    order = density.argsort(descending=True, stable=True).argsort()
    denser = order[None, :] < order[:, None]
    apart = distance.masked_fill(~denser, distance.max()).amin(dim=1)
    centres = (apart * density).argsort(descending=True, stable=True)[:clusters]
    cluster = distance[:, centres].argmin(dim=1)
    cluster[centres] = torch.arange(clusters, device=x.device)
    return centres, cluster
