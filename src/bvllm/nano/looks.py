"""Watch where the token sampler looks while it learns, and say where it should."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bvllm.nano.busy_examples import BusyExample
from bvllm.nano.busy_pool import COVERED, covered
from bvllm.nano.feature_cache import AnyExample
from bvllm.types import FrameSelection

FAINT = 1e-6


@contextmanager
def watched(sampler: nn.Module) -> Iterator[list[Tensor]]:
    """Collect the sampler's last attention maps with their gradients: (F, R, N) a call, the mean over heads.

    The maps that the sampler returns itself are computed without.
    """
    found: list[Tensor] = []

    def keep(module: Any, _: Any, kwargs: dict[str, Tensor]) -> None:
        def heads(x: Tensor) -> Tensor:
            return x.unflatten(-1, (-1, module.attention_head_size)).transpose(1, 2)

        queries = heads(module.query(kwargs["hidden_states"]))
        keys = heads(module.key(kwargs["encoder_hidden_states"]))
        scores = queries @ keys.mT / module.attention_head_size**0.5
        found.append(scores.float().softmax(dim=-1).mean(dim=1))

    reader: Any = sampler.reader
    layers = [layer for layer in reader.model.encoder.layer if layer.has_cross_attention]
    hook = layers[-1].crossattention.attention.register_forward_pre_hook(keep, with_kwargs=True)
    try:
        yield found
    finally:
        hook.remove()


def aims(example: AnyExample, selection: FrameSelection, grid: int) -> list[Tensor | None]:
    """For each chosen frame where the asked things are: (N,) shares that sum to 1, or None.

    Every thing weighs the same, whatever its size.
    """
    if not isinstance(example, BusyExample) or not example.question.about:
        return [None] * len(selection)
    asked = set(example.question.needles)
    found: list[Tensor | None] = []
    for time in selection.frames.tolist():
        shown = example.timeline.at(time)
        masks = []
        if example.timeline.number_at(time) in asked:
            age = time - shown.start
            for thing in example.question.about:
                if thing.shows(age) and any(thing is other for other in shown.scene.things):
                    share = covered(*shown.scene.place(thing, age), thing.half(), grid)
                    mask = torch.from_numpy((share >= COVERED).astype(np.float32))
                    if mask.any():
                        masks.append(mask / mask.sum())
        found.append(torch.stack(masks).mean(dim=0) if masks else None)
    return found


def looking_loss(maps: Tensor, wanted: list[Tensor | None]) -> Tensor:
    """Cross-entropy between where the tokens of a frame look together and where the asked things are.

    Args:
        maps: (F, R, N).
        wanted: one for each frame.
    """
    rows = [k for k, aim in enumerate(wanted) if aim is not None]
    if not rows:
        return maps.sum() * 0
    aim = torch.stack([a for a in wanted if a is not None])
    return -(aim * maps[rows].mean(dim=1).clamp_min(FAINT).log()).sum(dim=1).mean()
