"""Score how common a token is: by its likeness to a mean, over the channels that vary least."""

import torch
from torch import Tensor

from bvllm.primitives.matching import unit

SCALES = (0.125, 0.25, 0.5, 1.0, 2.0)  # alpha of the five kernels: 2^-3 .. 2^1
STEADY = 0.5  # share of the channels
ROWS_AT_A_TIME = 512  # bounds the memory of a pass over all tokens


def steady_channels(x: Tensor) -> Tensor:
    """The half of the channels with the lowest variance over tokens, steadiest first: (C // 2,), or one.

    Args:
        x: (K, C).

    Source: the released code of VidCom2 and STC ("select_low_var_channels").

    Example:
        >>> steady_channels(torch.tensor([[0.0, 1.0, 2.0, 3.0], [9.0, 1.0, 2.0, 9.0]])).tolist()
        [1, 2]
    """
    total = x.new_zeros(2, x.shape[1], dtype=torch.float64)
    centre = x[0].double()  # near the mean: a difference of large squares would lose what is small
    for part in torch.split(x, ROWS_AT_A_TIME):
        wide = part.double() - centre
        total += torch.stack([wide.sum(dim=0), wide.square().sum(dim=0)])
    mean, square = total / len(x)
    variance = square - mean.square()
    steadiest: Tensor = variance.topk(max(1, int(x.shape[1] * STEADY)), largest=False).indices
    return steadiest


def mean_row(x: Tensor) -> Tensor:
    """Mean of (K, C) rows: (C,) float32. They are widened some at a time, never all at once.

    Example:
        >>> mean_row(torch.tensor([[1.0, 2.0], [3.0, 6.0]]).bfloat16()).tolist()
        [2.0, 4.0]
    """
    parts = [part.double().sum(dim=0) for part in torch.split(x, ROWS_AT_A_TIME)]
    return (torch.stack(parts).sum(dim=0) / len(x)).float()


def unit_mean(x: Tensor, channels: Tensor) -> Tensor:
    """Mean of unit vectors, over some channels: (c,) float32."""
    return unit(x[:, channels]).mean(dim=0)


def common_kernel(x: Tensor, channels: Tensor, centre: Tensor) -> Tensor:
    """How near each token is to a centre: (K,), the sum of five Gaussians of the distance.

    Args:
        x: (K, C), compared at unit length over `channels`.
        channels: (c,).
        centre: (c,).

    Source: the released code of VidCom2 and STC: sum over alpha of exp(-d^2 / (2 alpha)).

    Example:
        >>> x = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
        >>> common_kernel(x, torch.tensor([0, 1]), torch.tensor([1.0, 0.0])).tolist()[0]
        5.0
    """
    distance = (unit(x[:, channels]) - centre).square().sum(dim=-1)
    return torch.stack([(-distance / (2 * alpha)).exp() for alpha in SCALES]).sum(dim=0)
