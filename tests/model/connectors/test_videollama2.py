"""VideoLLaMA2's connectors: the authors' outputs, hand-worked forms, and where tokens come from."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from bvllm.model.connectors import FORMS, VideoLlama2Config, VideoLlama2Connector, block_origin
from tests.model.connectors import golden


@torch.no_grad()
def test_the_authors_stc_connector_says_the_same():
    stored = golden.load("videollama2_stc_connector")
    connector = VideoLlama2Connector(VideoLlama2Config(), channels=32, width=48)
    connector.load_state_dict(stored.weights)
    assert (connector(stored.data["input"]) - stored.data["output"]).abs().max() < 1e-4


@torch.no_grad()
def test_spatial_pooling_by_hand():
    connector = VideoLlama2Connector(VideoLlama2Config("spatial_pool", mlp_depth=1), channels=2, width=2)
    nn.init.eye_(connector.readout[0].weight)
    nn.init.zeros_(connector.readout[0].bias)
    patches = torch.arange(2 * 4 * 2.0).reshape(1, 2, 4, 2)
    means = torch.tensor([[[3.0, 4.0], [11.0, 12.0]]])  # of 0 2 4 6, of 1 3 5 7, and so on
    torch.testing.assert_close(connector(patches), functional.silu(means))


@torch.no_grad()
def test_the_convolution_sees_two_frames_and_four_patches():
    connector = VideoLlama2Connector(VideoLlama2Config("stc_connector_v35", depth=0, mlp_depth=1), 1, 1)
    for layer in (connector.sampler[0], connector.readout[0]):
        nn.init.ones_(layer.weight)
        nn.init.zeros_(layer.bias)
    patches = torch.arange(16.0).reshape(1, 4, 4, 1)
    torch.testing.assert_close(connector(patches), functional.silu(torch.tensor([[[28.0], [92.0]]])))
    padded = VideoLlama2Connector(VideoLlama2Config(depth=0, mlp_depth=1), 1, 1)
    padded.load_state_dict(connector.state_dict())
    corners = padded(patches)[0, :, 0]  # each window of the padded video has one patch of two frames, or one
    assert corners.shape == (3 * 2 * 2,)
    torch.testing.assert_close(corners[:4], functional.silu(torch.arange(4.0)))
    torch.testing.assert_close(corners[4:8], functional.silu(torch.arange(4.0) * 2 + 12))


@torch.no_grad()
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("frames, rows, columns", [(8, 6, 6), (5, 5, 5), (16, 3, 4)])
def test_as_many_tokens_as_the_configuration_says(form, frames, rows, columns):
    config = VideoLlama2Config(form, depth=None if FORMS[form].depth == 0 else 1)
    connector = VideoLlama2Connector(config, channels=8, width=12)
    tokens = connector(torch.randn(2, frames, rows * columns, 8), columns)
    steps, height, width = config.block(frames, rows, columns)
    assert tokens.shape == (2, steps * height * width, 12)
    origin = block_origin(config, frames, rows, columns)
    assert all(part.shape == (tokens.shape[1],) for part in origin)
    assert [int(place.max()) < n for place, n in zip(origin, (frames, rows, columns))] == [True] * 3


@torch.no_grad()
@pytest.mark.parametrize("form", ["stc_connector", "stc_connector_v35", "stp_connector", "spatial_conv"])
def test_a_patch_reaches_the_tokens_that_name_it(form):
    """Without RegStages, a token changes where its window's first patch changes."""
    config = VideoLlama2Config(form, depth=0)
    connector = VideoLlama2Connector(config, channels=4, width=4)
    patches = torch.randn(1, 4, 16, 4)
    before, origin = connector(patches), block_origin(config, 4, 4, 4)
    for k, (frame, row, column, _) in enumerate(zip(*origin)):
        if form == "spatial_conv" and k // 9 in (0, 5):
            continue  # steps before the first and after the last frame see padding alone
        changed = patches.clone()
        changed[0, frame, row * 4 + column] += 5
        assert not torch.equal(connector(changed)[0, k], before[0, k])


def test_sizes_add_up_to_the_patches_where_windows_cover_them():
    origin = block_origin(VideoLlama2Config(), frames=8, rows=6, columns=6)
    assert origin.size.sum() == 8 * 36
    assert (origin.size[0], origin.frame[16].item(), origin.row[5].item()) == (1, 1, 1)


def test_videos_of_a_batch_do_not_mix():
    connector = VideoLlama2Connector(VideoLlama2Config(depth=1), channels=8, width=8).eval()
    patches = torch.randn(3, 4, 9, 8)
    together = connector(patches)
    for k in range(3):
        torch.testing.assert_close(connector(patches[k : k + 1])[0], together[k])


@pytest.mark.parametrize(
    "shape, columns, complaint",
    [
        ((8, 36, 8), None, "patches must be"),
        ((1, 8, 35, 8), None, "columns must divide"),
        ((1, 8, 36, 8), 7, "columns must divide"),
        ((1, 1, 4, 8), None, "downsample must fit"),
    ],
)
def test_wrong_shapes_are_named(shape, columns, complaint):
    connector = VideoLlama2Connector(VideoLlama2Config("stp_connector", depth=1), channels=8, width=8)
    with pytest.raises(ValueError, match=complaint):
        connector(torch.zeros(shape), columns)
