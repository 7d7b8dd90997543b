"""What a vision tower's attention says of the patches of frames, and how it reaches a method."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from bvllm.stages.pipeline import mixed
from bvllm.types import FrameSelection, Signals


class PatchSignals(NamedTuple):
    """What a tower's attention says of the patches of t frames.

    Shapes: attention (t, N); keys (t, N, d), the mean over the heads. None where it was not asked for.
    """

    attention: Tensor | None = None
    keys: Tensor | None = None

    @classmethod
    def of_frames(cls, parts: "Sequence[PatchSignals]") -> "PatchSignals":
        """What was read of some frames after others, as one."""
        return cls(*(torch.cat(known) if (known := _there(part)) else None for part in zip(*parts)))

    def of_clips(self, counts: Sequence[int]) -> "list[PatchSignals]":
        """The same, cut into clips of so many frames each."""
        parts = [None if part is None else torch.split(part, list(counts)) for part in self]
        columns = [[None] * len(counts) if part is None else part for part in parts]
        return [PatchSignals(*row) for row in zip(*columns)]


def _there(parts: Sequence[Tensor | None]) -> list[Tensor]:
    return [part for part in parts if part is not None]


def signals_of_rows(seen: PatchSignals | None, selection: FrameSelection, signals: Signals) -> Signals:
    """What is known of the distinct frames that a selection stands on, added to a method's signals.

    Args:
        seen: of `frames_needed(selection)`; None adds nothing.
        selection: its rows may mix frames, as patches are mixed.
        signals: everything else.
    """
    if seen is None:
        return signals
    attention, keys = seen
    return replace(
        signals,
        attention=None if attention is None else _of_rows(attention[..., None], selection).flatten(),
        keys=None if keys is None else _of_rows(keys, selection).flatten(0, 1),
    )


def _of_rows(known: Tensor, selection: FrameSelection) -> Tensor:
    return mixed(lambda _: known.to(selection.weights.device), selection)
