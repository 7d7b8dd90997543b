"""What a configuration refuses, and what it works out by itself."""

import pytest
from transformers import BertConfig, CLIPVisionConfig

from bvllm.model import BVLLMConfig
from bvllm.model.slots import SlotRule
from bvllm.types import Budget
from tests.model import tiny


def test_the_defaults_are_the_paper():
    config = BVLLMConfig()
    assert config.budget == Budget(tokens=512, frames=32)
    assert (config.tokens_per_frame, config.tau, config.gamma) == (32, 0.1, 0.75)
    assert (config.frame_selector, config.choice, config.merge_frames, config.merge_tokens) == (
        "qformer", "gumbel", True, True,
    )  # fmt: skip
    assert config.time_channels == config.certainty == 0
    assert not config.adaptive_tokens


@pytest.mark.parametrize(
    "changes, message",
    [
        (
            {"frame_selector": "unifrom"},
            r"frame_selector must be one of .* got 'unifrom': did you mean 'uniform'\?",
        ),
        ({"frame_feature": "x"}, "frame_feature must be one of .* got 'x': use one of these"),
        ({"choice": "hard"}, "choice must be one of gumbel, softmax, got 'hard'"),
        ({"token_sampler": "pooled"}, r"token_sampler must be .* did you mean 'pool'\?"),
        ({"tau": 0.0}, "tau must be above 0, got 0.0: the paper uses 0.1"),
        ({"gamma": 1.5}, r"gamma must lie in \(0, 1\], got 1.5: the paper uses 0.75"),
        ({"budget_tokens": 0}, "budget_tokens must be at least 1, got 0: raise it"),
        ({"num_selected_frames": 0}, "num_selected_frames must be at least 1, got 0"),
        ({"certainty": 1.0}, r"certainty must lie in \[0, 1\), got 1.0: 0 keeps all chosen frames"),
        (
            {"adaptive_tokens": True, "token_sampler": "pool"},
            "adaptive_tokens must go with token_sampler=\"qformer\", got 'pool'",
        ),
        ({"time_channels": -1}, "time_channels must be 0 or more, got -1"),
        ({"vision_feature_layer": 3}, r"vision_feature_layer must lie in -3..2, got 3"),
        ({"vision_config": BertConfig()}, "vision_config must be one of blip_2_vision_model, .* got 'bert'"),
    ],
    ids=lambda x: next(iter(x)) if isinstance(x, dict) else "",
)
def test_wrong_settings_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        tiny.config(**changes)


def test_what_is_given_stays_as_it_is():
    reader = tiny.qformer_config(encoder_hidden_size=99)
    config = tiny.config(frame_qformer_config=reader, spatial_qformer_config=reader)
    assert reader.encoder_hidden_size == 99
    assert config.frame_qformer_config is not config.spatial_qformer_config
    assert config.frame_qformer_config.encoder_hidden_size == 16


def test_dictionaries_are_as_good_as_objects():
    config = tiny.config(
        vision_config=tiny.vision_config().to_dict(), text_config=tiny.text_config().to_dict()
    )
    assert isinstance(config.vision_config, CLIPVisionConfig)
    assert config.text_config.hidden_size == 32
    assert BVLLMConfig(**config.to_dict()).to_dict() == config.to_dict()


def test_settings_that_follow_from_others():
    assert tiny.config(token_sampler="none", tokens_per_frame=3).tokens_per_frame == 16
    assert tiny.config().image_token_id == tiny.VIDEO_ID
    assert tiny.config(text_config=tiny.text_config(tie_word_embeddings=True)).tie_word_embeddings


def test_slots_of_an_empty_clip():
    with pytest.raises(ValueError, match="a clip must have at least 1 frame, got 0: drop empty clips"):
        SlotRule().count(0)
