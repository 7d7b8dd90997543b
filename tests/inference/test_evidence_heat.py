import numpy as np
import pytest
import torch
from PIL import Image

from bvllm.inference.evidence.heatmap import STRONGEST, heat_maps, paint


def test_the_map_is_the_mean_over_the_tokens_scaled_to_one():
    attention = torch.tensor([[[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]], [[0.4, 0.3, 0.2, 0.1]] * 2])
    maps = heat_maps(attention)
    assert maps.shape == (2, 2, 2)
    np.testing.assert_allclose(maps[0], [[1, 1], [0, 0]], atol=1e-6)
    np.testing.assert_allclose(maps[1], [[1, 2 / 3], [1 / 3, 0]], atol=1e-6)


def test_a_frame_that_was_looked_at_evenly_shows_no_hot_spot():
    assert not heat_maps(torch.full((1, 3, 16), 1 / 16)).any()


def test_the_grid_need_not_be_square():
    attention = torch.zeros(1, 1, 6)
    attention[0, 0, 4] = 1
    assert np.argwhere(heat_maps(attention, (2, 3))[0] == 1).tolist() == [[1, 1]]


def test_patches_that_fill_no_grid_are_refused():
    with pytest.raises(ValueError, match="grid must hold 6 patches, got 2 x 2"):
        heat_maps(torch.zeros(1, 1, 6))


def test_paint_is_clear_where_it_is_cold_and_strongest_where_it_is_hot():
    heat = np.zeros((4, 4), dtype=np.float32)
    heat[0, 3] = 1
    picture = np.asarray(paint(heat, (80, 40)))
    assert picture.shape == (40, 80, 4)
    alpha = picture[..., 3]
    assert alpha[30, 10] == 0
    row, column = np.unravel_index(alpha.argmax(), alpha.shape)
    assert row < 10
    assert column >= 60
    assert alpha.max() == pytest.approx(255 * STRONGEST, abs=2)


@pytest.mark.parametrize("level", [0, 128, 255])
def test_the_hottest_spot_is_seen_on_any_grey(level):
    """3 : 1 in luminance on black and white, as WCAG asks of graphics; on grey it is told by its colour."""
    heat = np.zeros((4, 4), np.float32)
    heat[1:3, 1:3] = 1.0
    below = Image.new("RGBA", (64, 64), (level, level, level, 255))
    seen = np.asarray(Image.alpha_composite(below, paint(heat, (64, 64))).convert("RGB"), float)
    hot, cold = seen[32, 32], seen[0, 0]
    light, dark = sorted((_luminance(hot), _luminance(cold)), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 3 or np.abs(hot - cold).max() > 80
    if level != 128:
        assert (light + 0.05) / (dark + 0.05) >= 3


def _luminance(colour):
    share = np.asarray(colour) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))
