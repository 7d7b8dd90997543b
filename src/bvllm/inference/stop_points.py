"""Let a question be given up while a model computes: every layer asks first."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import nn

from bvllm.common.cancelling import check


def layers_of(model: nn.Module) -> list[nn.Module]:
    """The layers of all its towers and of its language model: what stands in a row."""
    return [layer for rows in model.modules() if isinstance(rows, nn.ModuleList) for layer in rows]


@contextmanager
def stopping_between(layers: Sequence[nn.Module]) -> Iterator[None]:
    """Raise `Cancelled` before a layer where the present work was given up, during this block.

    A stopping criterion of `generate` is asked only between tokens: not once while a long prompt is read.
    """
    hooks = [layer.register_forward_pre_hook(lambda *_: check()) for layer in layers]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
