"""Find the gradients of a step's two halves side by side, each with one kernel thread."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

PARTS = 2  # of a step's clips


@contextmanager
def side_by_side() -> Iterator[Callable[..., Iterable[Any]]]:
    """A `map` whose calls run side by side where there are two cores, and one after another where not.

    Either way gives the same figures. On two cores, of dynamic-nano's language model, two halves of a batch
    took 0.82 of the time that two kernel threads took over the whole: kernels are too small to share.
    """
    if torch.get_num_threads() < PARTS:
        yield map
        return
    with ThreadPoolExecutor(PARTS, initializer=lambda: torch.set_num_threads(1)) as pool:
        yield pool.map


def gradients_of(loss: Tensor, parameters: Sequence[nn.Parameter]) -> tuple[Tensor | None, ...]:
    """The gradients of a half; not added to `parameters`, which the other half reads, too."""
    return torch.autograd.grad(loss, parameters, allow_unused=True)


def put_mean(parameters: Sequence[nn.Parameter], halves: Sequence[Sequence[Tensor | None]]) -> None:
    """Leave the mean of the halves' gradients with the parameters; None where no half reached one.

    Example:
        >>> weight = nn.Parameter(torch.ones(1))
        >>> put_mean([weight], [gradients_of(k * weight.sum(), [weight]) for k in (1, 3)])
        >>> weight.grad.item()
        2.0
    """
    for parameter, parts in zip(parameters, zip(*halves, strict=True), strict=True):
        some = [part for part in parts if part is not None]
        parameter.grad = torch.stack(some).sum(dim=0) / len(halves) if some else None
