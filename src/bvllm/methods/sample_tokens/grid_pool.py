"""Pool every frame to a smaller grid, by means: what every method must beat."""

from dataclasses import dataclass
from typing import ClassVar

from bvllm.primitives.reduction import Reduction
from bvllm.stages.by_frame import frame_grid, pooled_to
from bvllm.stages.each_frame import PictureMethod
from bvllm.stages.frame_grids import Grid, largest_grid
from bvllm.stages.method import Lands, Slot
from bvllm.types import Signals, Tokens


@dataclass(frozen=True)
class GridPool(PictureMethod):
    """Pool each frame to the largest grid within its equal share, near to the frame's own shape, by means.

    Blind to content and question, and the oldest way to fewer tokens. A share without such a grid, such as
    13, is not met: 12 cells in 3 rows tell more than 13 in one. `dynamic` lets grids differ from frame to
    frame, to come nearer to the budget.

    Example:
        >>> import torch
        >>> tokens = Tokens.of(torch.arange(16.0).view(1, 16, 1), torch.zeros(1))
        >>> tokens.reduce(GridPool().assign(tokens, 5, Signals())).features[:, 0].tolist()
        [2.5, 4.5, 10.5, 12.5]
    """

    slots: ClassVar[tuple[Slot, ...]] = ("sample_tokens", "merge_tokens")
    paper: ClassVar[str] = "ours"
    lands: ClassVar[Lands] = "below"

    def assign_frame(self, tokens: Tokens, keep: int, signals: Signals) -> Reduction:
        whole = slice(0, len(tokens))
        grid = largest_grid(Grid(*frame_grid(tokens, whole)), keep)
        return Reduction.dense(pooled_to(tokens, whole, grid))
