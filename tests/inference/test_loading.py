"""A loaded model looks at frames with the fast tower or with the stock one, and sees the same."""

import pytest
import torch

from bvllm.inference.ask import LoadedModel, load_model
from bvllm.inference.loading import CHUNK
from bvllm.model.fast_tower import fast_tower
from tests.model import tiny


@pytest.fixture(scope="module")
def both():
    return load_model("nano", device="cpu"), load_model("nano", device="cpu", fast=False)


def test_the_switch(both):
    quick, stock = both
    assert quick.fast is not None
    assert quick.fast.dtype == torch.float32  # nano's answers are float32's
    assert stock.fast is None


def test_both_towers_see_the_same(both):
    pixels = tiny.frames(5, side=128)
    quick, stock = (loaded.frame_features(pixels) for loaded in both)
    torch.testing.assert_close(quick, stock, rtol=1e-4, atol=1e-4)
    quick, stock = (loaded.patch_features(pixels) for loaded in both)
    torch.testing.assert_close(quick, stock, rtol=1e-4, atol=1e-4)


def test_a_frame_gives_the_same_in_any_company_and_with_any_threads(both):
    pixels = tiny.frames(CHUNK, side=128)
    for loaded in both:
        whole = loaded.frame_features(pixels)
        assert torch.equal(loaded.frame_features(pixels[:3]), whole[:3])
        step = loaded.patch_step
        patches = torch.cat([loaded.patch_features(part) for part in pixels.split(step)])
        assert torch.equal(loaded.patch_features(pixels[:1]), patches[:1])
    one = both[0].frame_features(pixels)
    torch.set_num_threads(2)
    try:
        two = both[0].frame_features(pixels)
    finally:
        torch.set_num_threads(1)
    assert torch.equal(two, one)


def test_features_made_of_patches_are_left_to_the_stock_tower(tmp_path):
    model, processor = tiny.model(frame_feature="mean"), tiny.processor()
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    assert load_model(str(tmp_path), device="cpu").fast is None
    tower = model.model.vision_tower
    assert fast_tower(tower, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)) is not None
    assert LoadedModel(model, processor).frame_features(tiny.frames(2, side=16)).shape == (2, 16)


@pytest.mark.parametrize("fast", [True, False])
def test_nothing_is_compiled_on_a_cpu(fast):
    with pytest.raises(
        ValueError, match="compile must be False, got True for 'nano' on cpu: only the fast form"
    ):
        load_model("nano", device="cpu", fast=fast, compile=True)
