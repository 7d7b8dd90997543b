"""RegNet's stage of bottleneck blocks, as VideoLLaMA2 uses it: LayerNorm over channels, SiLU throughout.

Parameters carry timm's names (`b1.conv1.conv.weight`, `b1.conv1.bn.weight`, `b1.se.fc1.weight`, ...), so that
weights trained there load as they are. `bn` is a LayerNorm; timm calls every norm after a convolution so.
"""

from torch import Tensor, nn
from torch.nn import functional

SQUEEZE = 0.25  # of the block's input channels, RegNet (arXiv 2003.13678), Sec. 4


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of (B, C, H, W). Its epsilon is 1e-5, torch's and timm's default here."""

    def forward(self, x: Tensor) -> Tensor:
        x = functional.layer_norm(
            x.permute(0, 2, 3, 1), self.normalized_shape, self.weight, self.bias, self.eps
        )
        return x.permute(0, 3, 1, 2)


class PointConv(nn.Conv2d):
    """A 1 x 1 convolution, computed as the linear layer that it is.

    Upstream's kernels for it round differently with how weights lie in memory, so that a model that was saved
    and loaded would not say the same to the last bit.
    """

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x.permute(0, 2, 3, 1), self.weight.flatten(1), self.bias).permute(0, 3, 1, 2)


class ConvNorm(nn.Module):
    """A convolution without bias, 1 x 1 or depthwise 3 x 3, a norm, and SiLU where asked for."""

    def __init__(self, channels: int, width: int, *, depthwise: bool = False, activate: bool = True) -> None:
        super().__init__()
        self.conv = (
            nn.Conv2d(channels, width, 3, padding=1, groups=width, bias=False)
            if depthwise
            else PointConv(channels, width, 1, bias=False)
        )
        self.bn = ChannelNorm(width)
        self.activate = activate

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) -> (B, width, H, W)."""
        x = self.bn(self.conv(x))
        return functional.silu(x) if self.activate else x


class SqueezeExcite(nn.Module):
    """Scale every channel by a gate that has seen the whole picture (arXiv 1709.01507)."""

    def __init__(self, width: int, squeezed: int) -> None:
        super().__init__()
        self.fc1 = PointConv(width, squeezed, 1)
        self.fc2 = PointConv(squeezed, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        return x * self.fc2(functional.silu(self.fc1(x.mean((2, 3), keepdim=True)))).sigmoid()


class Bottleneck(nn.Module):
    """1 x 1, depthwise 3 x 3, squeeze and excite, 1 x 1, and the way around."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(channels, width)
        self.conv2 = ConvNorm(width, width, depthwise=True)
        self.se = SqueezeExcite(width, round(channels * SQUEEZE))
        self.conv3 = ConvNorm(width, width, activate=False)
        self.downsample = nn.Identity() if channels == width else ConvNorm(channels, width, activate=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) -> (B, width, H, W)."""
        changed = self.conv3(self.se(self.conv2(self.conv1(x))))
        return functional.silu(changed + self.downsample(x))


class RegStage(nn.Module):
    """`depth` bottleneck blocks, the first of which changes the number of channels.

    Args:
        depth: blocks, named b1, b2, ...
        channels, width: of what comes in and what goes out.

    Source: RegNet (arXiv 2003.13678); timm's `RegStage` with stride 1, group size 1, `LayerNorm2d`, SiLU.

    Example:
        >>> import torch
        >>> tuple(RegStage(2, channels=8, width=12)(torch.zeros(1, 8, 5, 3)).shape)
        (1, 12, 5, 3)
    """

    def __init__(self, depth: int, channels: int, width: int) -> None:
        super().__init__()
        for k in range(depth):
            self.add_module(f"b{k + 1}", Bottleneck(channels if k == 0 else width, width))

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) -> (B, width, H, W)."""
        for block in self.children():
            x = block(x)
        return x
