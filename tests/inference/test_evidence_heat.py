import numpy as np
import pytest
import torch

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
