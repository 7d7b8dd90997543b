"""RegNet's stage: a block by hand, and timm's own where it is installed."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from bvllm.model.connectors import RegStage
from bvllm.model.connectors.regstage import Bottleneck, SqueezeExcite


def randomise(module: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(3)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.4, generator=generator)
    return module


def norm(x, layer):
    mean, variance = x.mean(1, keepdim=True), x.var(1, keepdim=True, unbiased=False)
    return (x - mean) / (variance + 1e-5).sqrt() * layer.weight[:, None, None] + layer.bias[:, None, None]


@torch.no_grad()
@pytest.mark.parametrize("width", [8, 12])
def test_a_block_is_what_regnet_says(width):
    block, x = randomise(Bottleneck(8, width)), torch.randn(2, 8, 5, 3)
    y = functional.silu(
        norm(torch.einsum("oc,bchw->bohw", block.conv1.conv.weight[..., 0, 0], x), block.conv1.bn)
    )
    y = functional.conv2d(y, block.conv2.conv.weight, padding=1, groups=width)
    y = functional.silu(norm(y, block.conv2.bn))
    squeezed = functional.silu(y.mean((2, 3)) @ block.se.fc1.weight[..., 0, 0].T + block.se.fc1.bias)
    y = y * (squeezed @ block.se.fc2.weight[..., 0, 0].T + block.se.fc2.bias).sigmoid()[..., None, None]
    y = norm(torch.einsum("oc,bchw->bohw", block.conv3.conv.weight[..., 0, 0], y), block.conv3.bn)
    around = x
    if width != 8:
        down = block.downsample
        around = norm(torch.einsum("oc,bchw->bohw", down.conv.weight[..., 0, 0], x), down.bn)
    torch.testing.assert_close(block(x), functional.silu(y + around), rtol=1e-4, atol=1e-5)


def test_the_squeeze_is_a_quarter_of_what_comes_in():
    stage = RegStage(2, channels=32, width=48)
    assert (stage.b1.se.fc1.out_channels, stage.b2.se.fc1.out_channels) == (8, 12)
    assert isinstance(stage.b1.se, SqueezeExcite)
    assert isinstance(stage.b2.downsample, nn.Identity)


@torch.no_grad()
@pytest.mark.parametrize("height, columns, channels, width", [(5, 7, 20, 28), (1, 1, 16, 16), (6, 6, 12, 8)])
def test_timm_says_the_same(height, columns, channels, width):
    timm = pytest.importorskip("timm")
    theirs = timm.models.regnet.RegStage(
        depth=3, in_chs=channels, out_chs=width, stride=1, dilation=1,
        act_layer=nn.SiLU, norm_layer=timm.layers.LayerNorm2d,
    )  # fmt: skip
    ours = randomise(RegStage(3, channels, width))
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, channels, height, columns)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-5)
