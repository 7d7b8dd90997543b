"""VideoLLaMA2's connectors: RegStage, down-sampling in space and time, RegStage, readout.

Parameters carry the authors' names (`s1.b1.conv1.conv.weight`, `sampler.0.weight`, `readout.0.weight`).
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from bvllm.model.connectors.configuration import FORMS, VideoLlama2Config
from bvllm.model.connectors.regstage import RegStage


class BlockOrigin(NamedTuple):
    """Where each of K tokens of one video comes from, by the window of the down-sampling.

    Attributes:
        frame, row, column: (K,) the first patch of the window that is there; a window of padding alone
            (the outer steps of "spatial_conv") is put down to the nearest.
        size: (K,) patches in the window that are there, at least 1.
    """

    frame: Tensor
    row: Tensor
    column: Tensor
    size: Tensor


class VideoLlama2Connector(nn.Module):
    """A video's patches, as one block of frames, rows and columns, to tokens of the language model's width.

    The first RegStage goes from the tower's width to the language model's, which everything behind it keeps.
    Forms without RegStages change the width where they can: "spatial_conv" in its convolution, "spatial_pool"
    in its readout. The authors' code has these for equal widths only, where ours does the same.

    Args:
        config: which form, and its numbers.
        channels: C of the patches.
        width: D of the language model.

    Source: VideoLLaMA 2 (arXiv 2406.07476), Sec. 2.2; details after its released code.

    Example:
        >>> connector = VideoLlama2Connector(VideoLlama2Config(depth=1), channels=8, width=12)
        >>> tuple(connector(torch.zeros(2, 8, 36, 8)).shape)
        (2, 80, 12)
    """

    def __init__(self, config: VideoLlama2Config, channels: int, width: int) -> None:
        super().__init__()
        self.config = config
        staged, convolve = config.blocks > 0, FORMS[config.form].convolve
        inner = width if staged or convolve else channels
        self.s1 = RegStage(config.blocks, channels, width) if staged else nn.Identity()
        time, rows, columns = config.strides
        strides = (time, rows, columns)
        self.sampler = nn.Sequential(
            nn.Conv3d(width if staged else channels, width, strides, strides, padding=config.padding)
            if convolve
            else nn.AvgPool3d(strides),
            nn.SiLU(),
        )
        self.s2 = RegStage(config.blocks, width, width) if staged else nn.Identity()
        self.readout = perceptron(config.mlp_depth, inner, width)

    def forward(self, patches: Tensor, columns: int | None = None) -> Tensor:
        """(B, T, N, C) -> (B, K, D), in the order of time, then row, then column.

        Args:
            patches: the frames of each video, all of the same number.
            columns: patches in a row of the grid; None takes a square.

        Raises:
            ValueError: the patches do not form such a grid, or are fewer than the down-sampling needs.
        """
        grid = patch_grid(patches, columns)
        self.config.block(patches.shape[1], *grid)
        x = patches.to(next(self.readout.parameters()).dtype).unflatten(2, grid)
        frames = x.shape[1]
        x = self.s1(x.flatten(0, 1).permute(0, 3, 1, 2))
        x = self.sampler(x.unflatten(0, (-1, frames)).transpose(1, 2))
        steps = x.shape[2]
        x = self.s2(x.transpose(1, 2).flatten(0, 1))
        return self.readout(x.unflatten(0, (-1, steps)).permute(0, 1, 3, 4, 2).flatten(1, 3))


class VideoLlama2Projector(nn.Module):
    """VideoLLaMA2 with B-VLLM's spatial sampling: R tokens of a frame in the place of its block.

    Sampled tokens lie on no grid, so its convolutions have nothing to read; its readout stays, behind a layer
    from the sampler's width to the readout's.

    Args:
        config: decides the readout.
        sampled: H of the token sampler.
        channels: C of the patches.
        width: D of the language model.

    Source: B-VLLM (arXiv 2412.09919), Sec. 3.5, Tables 1 and 2 ("w. Ours", 32 tokens a picture); the paper
        does not say which layers stay. Its code builds a block of convolutions for single frames, behind
        which 4 x 6 tokens would be left, and does not call it: the authors may have meant that.
    """

    def __init__(self, config: VideoLlama2Config, sampled: int, channels: int, width: int) -> None:
        super().__init__()
        inner = width if config.blocks > 0 or FORMS[config.form].convolve else channels
        self.widen = nn.Linear(sampled, inner)
        self.readout = perceptron(config.mlp_depth, inner, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """(K, H) -> (K, D)."""
        read: Tensor = self.readout(self.widen(tokens.to(self.widen.weight.dtype)))
        return read


def perceptron(depth: int, channels: int, width: int) -> nn.Sequential:
    """`depth` linear layers with GELU between them."""
    layers: list[nn.Module] = [nn.Linear(channels, width)]
    for _ in range(1, depth):
        layers += [nn.GELU(), nn.Linear(width, width)]
    return nn.Sequential(*layers)


def patch_grid(patches: Tensor, columns: int | None) -> tuple[int, int]:
    """(rows, columns) of the N patches of (B, T, N, C).

    Raises:
        ValueError: the shape is another, or N is no such grid.
    """
    if patches.ndim != 4 or not patches.shape[1]:
        raise ValueError(
            "patches must be (videos, frames, patches, channels) of at least one frame, got shape "
            f"{tuple(patches.shape)}: stack videos of as many frames"
        )
    count = patches.shape[2]
    across = columns or round(count**0.5)
    if count % across or (columns is None and across * across != count):
        raise ValueError(
            f"columns must divide the {count} patches of a frame, got {columns}: pass the grid's width"
        )
    return count // across, across


def block_origin(config: VideoLlama2Config, frames: int, rows: int, columns: int) -> BlockOrigin:
    """Where the tokens of one video come from.

    Example:
        >>> origin = block_origin(VideoLlama2Config(form="stp_connector"), frames=4, rows=2, columns=2)
        >>> origin.frame.tolist(), origin.size.tolist()
        ([0, 2], [8.0, 8.0])
    """
    shape, block = (frames, rows, columns), config.block(frames, rows, columns)
    first, there = [], []
    for length, count, stride in zip(shape, block, config.strides):
        start = torch.arange(count) * stride - config.padding
        end = (start + stride).clamp(max=length)
        first.append(start.clamp(0, length - 1))
        there.append((end - start.clamp_min(0)).clamp_min(0))
    frame, row, column = torch.meshgrid(*first, indexing="ij")
    t, h, w = torch.meshgrid(*there, indexing="ij")
    return BlockOrigin(
        frame.flatten(), row.flatten(), column.flatten(), (t * h * w).flatten().clamp_min(1).float()
    )
