"""Tell whoever reads a frame's patches where each of them lies."""

import torch
from torch import Tensor, nn

from bvllm.primitives.positions import grid_position_features


class PatchPlaces(nn.Module):
    """Adds to each patch where it lies in the grid: fixed features of its place, projected.

    A tower's last layers need not keep places: a linear probe of the embedded tower's patches missed their
    place by more than a patch, and no token can say what is lost there.

    Args:
        channels: C, the width of a patch.
        place_channels: P, at least 1.
        count: N, patches of a frame.
        columns: patches in a row of the grid.

    Raises:
        ValueError: `place_channels` is below 1, or the patches do not fill rows of `columns`.

    Source: ours; see `grid_position_features`.
    """

    def __init__(self, channels: int, place_channels: int, count: int, columns: int) -> None:
        super().__init__()
        if place_channels < 1:
            raise ValueError(f"place_channels must be at least 1, got {place_channels}: build none for none")
        if columns < 1 or count % columns:
            raise ValueError(f"columns must divide the {count} patches of a frame, got {columns}")
        self.proj = nn.Linear(place_channels, channels)
        self.place_channels, self.count, self.columns = place_channels, count, columns

    def forward(self, patches: Tensor) -> Tensor:
        """(F, N, C) -> (F, N, C); what comes in front of N patches, as [CLS] does, stays as it is.

        Raises:
            ValueError: there are fewer than N patches.
        """
        if patches.shape[-2] < self.count:
            raise ValueError(f"patches must be {self.count} a frame, got {patches.shape[-2]}: give all")
        grid = grid_position_features(self.count // self.columns, self.columns, self.place_channels)
        told: Tensor = self.proj(grid.to(self.proj.weight))
        prefix = told.new_zeros(patches.shape[-2] - self.count, told.shape[-1])
        return patches + torch.cat([prefix, told]).to(patches.dtype)
