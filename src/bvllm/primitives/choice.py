"""Turn scores into a choice: hard for inference, soft and noisy for training."""

from typing import Literal

import torch
from torch import Generator, Tensor
from torch.nn import functional

Mode = Literal["hard", "gumbel", "softmax"]
TAU = 0.1  # B-VLLM (arXiv 2412.09919), Sec. 3.2; better than 0.5 at gamma 1 (Sec. 5.3). Released: 0.5
# Share of the largest score by which equal columns may differ: products of equal frames do, by where a frame
# stands in the matrix. Measured up to 6.5 eps, at 16 to 1408 channels.
ROUNDING = 16 * torch.finfo(torch.float32).eps


def choose(
    logits: Tensor, *, tau: float = TAU, mode: Mode = "hard", generator: Generator | None = None
) -> Tensor:
    """Let every row of `logits` choose among its columns.

    `hard` is the arg-max as a one-hot row (the first column wins a tie, and ties are those that differ by
    rounding alone, so that equal frames are chosen as one) and repeats itself. `gumbel`
    is softmax((logits + Gumbel noise) / tau): gradients reach every column. `softmax` is the same
    without noise. As tau goes to 0, all draws of `gumbel` become one-hot.

    Args:
        logits: (..., L, T) scores; -inf marks a column that must not be chosen.
        tau: temperature that divides the logits, above 0; unused by `hard`.
        mode: how to choose.
        generator: source of the noise, to repeat a draw.

    Returns:
        (..., L, T) rows that sum to 1, of the dtype of `logits`.

    Raises:
        ValueError: tau is not positive, the mode is unknown, or a row holds NaN or no finite score.

    Source: B-VLLM (arXiv 2412.09919), Sec. 3.2, eq. 1; Gumbel-softmax: arXiv 1611.01144.

    Example:
        >>> choose(torch.tensor([[0.0, 2.0, 2.0]])).tolist()
        [[0.0, 1.0, 0.0]]
    """
    if not tau > 0:
        raise ValueError(f"tau must be above 0, got {tau}: use mode='hard' for the limit")
    if bool(logits.isnan().any()) or not bool(logits.isfinite().any(dim=-1).all()):
        raise ValueError(
            "logits must be numbers, a finite one in every row, got NaN or a row without: "
            "unmask at least one column, and check the frame features for NaN"
        )
    if mode == "hard":
        return functional.one_hot(_earliest_best(logits), logits.shape[-1]).to(logits.dtype)
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if mode == "gumbel":
        wide = wide - torch.empty_like(wide).exponential_(generator=generator).log()
    elif mode != "softmax":
        raise ValueError(f"mode must be 'hard', 'gumbel' or 'softmax', got {mode!r}: use one of these")
    return (wide / tau).softmax(dim=-1).to(logits.dtype)


def _earliest_best(logits: Tensor) -> Tensor:
    """(..., L, T) -> (..., L): the first column whose score is the best, up to rounding."""
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    finite = wide.abs().masked_fill(~wide.isfinite(), 0.0)
    largest = finite.amax(dim=(-2, -1) if wide.ndim > 1 else -1, keepdim=True)
    best = wide.amax(dim=-1, keepdim=True)
    return (wide >= best - ROUNDING * largest).to(torch.uint8).argmax(dim=-1)


def strongest(scores: Tensor, keep: int) -> Tensor:
    """(keep,) indices of the largest of (K,) scores, largest first; the earlier of equals.

    Example:
        >>> strongest(torch.tensor([1.0, 3.0, 3.0, 2.0]), 2).tolist()
        [1, 2]
    """
    return scores.float().argsort(descending=True, stable=True)[:keep]
