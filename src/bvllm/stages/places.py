"""Add to the patches of a frame where each of them lies."""

import torch
from torch import Tensor, nn

from bvllm.primitives.positions import grid_position_features


def check_place_channels(place_channels: int) -> None:
    """Refuse numbers that `PatchPlaces` cannot have; 0 stands for no places at all.

    Raises:
        ValueError: the number is negative, or no multiple of 4.
    """
    if place_channels < 0 or place_channels % 4:
        raise ValueError(
            f"place_channels must be a multiple of 4, got {place_channels}: each wave takes a sine and a "
            "cosine, down and across; 0 adds no places"
        )


class PlaceProjection(nn.Linear):
    """Places (P) -> the width of a patch, from weights by which places are about as large as the patches.

    A class of its own, because transformers asks only modules with weights of their own how they start.

    Attributes:
        spread: standard deviation of new weights: patches and what is added have variance 1. From 0.02, as
            other layers start, the embedded model's grew to 0.14 in 21 minutes.
    """

    def __init__(self, place_channels: int, channels: int) -> None:
        super().__init__(place_channels, channels)
        self.spread = (2 / place_channels) ** 0.5


class PatchPlaces(nn.Module):
    """Adds to each patch where it lies in the grid: fixed features of its place, projected.

    A tower's last layers need not keep places: a linear probe of the embedded tower's patches misses their
    place by more than a patch (`experiments/place_probe.py`), and no token can say what is lost there.

    Args:
        channels: C, the width of a patch.
        place_channels: P, at least 4 and a multiple of it.
        count: N, patches of a frame.
        columns: patches in a row of the grid.
        prefix: tokens that the tower gives in front of the patches, such as [CLS], where they are kept.

    Raises:
        ValueError: P does not fit, or the patches do not fill rows of `columns`.

    Source: ours; see `grid_position_features`.
    """

    def __init__(
        self, channels: int, place_channels: int, *, count: int, columns: int, prefix: int = 0
    ) -> None:
        super().__init__()
        check_place_channels(place_channels)
        if not place_channels:
            raise ValueError("place_channels must be at least 4, got 0: build no such module")
        if columns < 1 or count % columns:
            raise ValueError(
                f"columns must divide the {count} patches of a frame, got {columns}: pass the grid's width"
            )
        self.proj = PlaceProjection(place_channels, channels)
        self.place_channels, self.count, self.columns, self.prefix = place_channels, count, columns, prefix

    def forward(self, patches: Tensor) -> Tensor:
        """(F, N, C) -> (F, N, C); a prefix, where there is one, stays as it is.

        Raises:
            ValueError: there are not N patches, with or without the prefix.
        """
        before = patches.shape[-2] - self.count
        if before not in (0, self.prefix):
            raise ValueError(
                f"patches must be {self.count} a frame, got {patches.shape[-2]}: give frames of the tower's "
                "own size, or set place_channels=0"
            )
        grid = grid_position_features(self.count // self.columns, self.columns, self.place_channels)
        told: Tensor = self.proj(grid.to(self.proj.weight))
        return patches + torch.cat([told.new_zeros(before, told.shape[-1]), told]).to(patches.dtype)
