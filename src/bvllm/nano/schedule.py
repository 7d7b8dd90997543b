"""Set the learning rate of nano's stages."""

import math

import torch

FLOOR = 0.03


def follow(optimizer: torch.optim.Optimizer, lr: float, step: int, share: float, *, warmup: int) -> None:
    """Set the learning rate: up over `warmup` steps, then along a cosine down to FLOOR of the highest.

    Args:
        optimizer: all of its groups get the same rate.
        lr: the highest rate.
        step: steps done.
        share: how much of the stage is over, in 0..1; by steps or by time, whichever runs out first.
        warmup: steps until the rate is no longer held down.
    """
    rate = lr * min(1.0, (step + 1) / warmup) * (FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * share)))
    for group in optimizer.param_groups:
        group["lr"] = rate
