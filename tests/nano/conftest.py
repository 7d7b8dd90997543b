"""Busy scenes, features of their frames that say nothing, and a model at the size of tests."""

import pytest
import torch

from bvllm.model import BVLLMForConditionalGeneration
from bvllm.model.presets import tiny as tiny_preset
from bvllm.nano.busy_pool import draw_busy_pool
from bvllm.nano.feature_cache import FeatureCache
from bvllm.nano.frame_dataset import FrameDataset
from bvllm.synthetic.tokenizer import build_tokenizer
from tests.model.tiny import vision_config

SIDE, GRID = 32, 4


@pytest.fixture(scope="session")
def busy_pool():
    return draw_busy_pool(60, seed=3, image_size=SIDE, workers=1)


@pytest.fixture(scope="session")
def busy_bank(busy_pool):
    """Random features: what is tested here is which rows are taken, and what reaches what."""
    plain = FrameDataset(torch.zeros(0, 3, SIDE, SIDE), (), torch.zeros(0), torch.zeros(0))
    torch.manual_seed(0)
    return FeatureCache.index(
        plain, torch.randn(len(busy_pool), 16), torch.randn(len(busy_pool), 16, 16), busy_pool
    )


@pytest.fixture(scope="session")
def world_tokenizer():
    return build_tokenizer()


@pytest.fixture
def busy_model(world_tokenizer):
    config = tiny_preset(
        len(world_tokenizer),
        pad_token_id=world_tokenizer.pad_token_id,
        eos_token_id=world_tokenizer.eos_token_id,
        video_token_id=world_tokenizer.convert_tokens_to_ids("<|video|>"),
    )
    config.vision_config = vision_config(image_size=SIDE, patch_size=SIDE // GRID)
    config.place_channels = 4
    for part in (config.frame_qformer_config, config.spatial_qformer_config):
        part.encoder_hidden_size = 16
    torch.manual_seed(1)
    return BVLLMForConditionalGeneration(config).eval()
