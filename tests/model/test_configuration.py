"""What a configuration refuses, and what it works out by itself."""

import pytest
from transformers import BertConfig, CLIPVisionConfig

from bvllm.model import BVLLMConfig
from bvllm.model.configuration_bvllm import PlaceholderCount
from bvllm.types import Budget
from tests.model import tiny


def test_the_defaults_are_the_paper():
    config = BVLLMConfig()
    assert config.budget == Budget(tokens=512, frames=32)
    assert (config.tokens_per_frame, config.tau, config.gamma) == (32, 0.1, 0.75)
    assert config.choice == "gumbel"
    slots = config.select_frames, config.merge_frames, config.sample_tokens, config.merge_tokens
    assert slots == ("qformer", "similar", "qformer", "bipartite")
    assert config.time_channels == config.place_channels == config.certainty == config.second_choices == 0
    assert not config.adaptive_tokens


@pytest.mark.parametrize(
    "changes, message",
    [
        (
            {"frame_selector": "unifrom"},
            r"select_frames must be one of .* got 'unifrom': did you mean 'uniform'\?",
        ),
        ({"frame_feature": "x"}, "frame_feature must be one of .* got 'x': use one of these"),
        ({"choice": "hard"}, "choice must be one of gumbel, softmax, got 'hard'"),
        ({"token_sampler": "pooled"}, r"sample_tokens must be .* did you mean 'pool'\?"),
        ({"tau": 0.0}, "tau must be above 0, got 0.0: the paper uses 0.1"),
        ({"gamma": 1.5}, r"gamma must lie in \(0, 1\], got 1.5: the paper names 0.5, 0.75 and 1"),
        ({"budget_tokens": 0}, "budget_tokens must be at least 1, got 0: raise it"),
        ({"num_selected_frames": 0}, "num_selected_frames must be at least 1, got 0"),
        ({"second_choices": 1.1}, r"second_choices must lie in \[0, 1\], got 1.1"),
        ({"certainty": 1.0}, r"certainty must lie in \[0, 1\), got 1.0: 0 keeps all chosen frames"),
        (
            {"adaptive_tokens": True, "token_sampler": "pool"},
            'tokens_policy must be "none" with sample_tokens="pool", got \'even\'',
        ),
        ({"time_channels": -1}, "time_channels must be 0 or more, got -1"),
        ({"place_channels": -1}, "place_channels must be a multiple of 4, got -1"),
        ({"vision_feature_layer": 3}, r"vision_feature_layer must lie in -3..2, got 3"),
        ({"vision_feature_layer": "last"}, r'vision_feature_layer must be a number or "final", got \'last\''),
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
        PlaceholderCount().count(0)


def test_todays_names_are_still_read_and_win(tmp_path):
    older = {
        "frame_selector": "uniform",
        "token_sampler": "none",
        "merge_frames": False,
        "merge_tokens": False,
    }
    config = BVLLMConfig(**older)
    slots = ("select_frames", "sample_tokens", "merge_frames", "merge_tokens")
    assert [getattr(config, slot) for slot in slots] == ["uniform", "none", "none", "none"]
    assert (config.frame_selector, config.token_sampler) == ("uniform", "none")
    again = BVLLMConfig(**config.to_dict() | {"frame_selector": "qformer", "adaptive_tokens": True})
    assert (again.select_frames, again.tokens_policy, again.adaptive_tokens) == ("qformer", "even", True)
    again.save_pretrained(tmp_path)
    read = BVLLMConfig.from_pretrained(tmp_path, token_sampler="qformer")
    assert (read.select_frames, read.tokens_policy, read.sample_tokens) == ("qformer", "even", "qformer")
    assert BVLLMConfig.from_pretrained(tmp_path, adaptive_tokens=False).tokens_policy == "none"


def test_other_methods_are_checked_as_a_new_configuration_is():
    config = BVLLMConfig()
    assert config.with_methods() is config
    assert config.with_methods(merge_tokens=None, select_frames="qformer") is config
    other = config.with_methods(merge_tokens="tome", sample_tokens="divprune")
    assert (other.merge_tokens, other.sample_tokens, other.tokens_per_frame) == ("tome", "divprune", 49)
    assert config.merge_tokens == "bipartite"
    with pytest.raises(ValueError, match=r"a slot must be one of .*, got 'merge_token': did you mean"):
        config.with_methods(merge_token="tome")
    with pytest.raises(ValueError, match=r"merge_tokens must be one of .*, got 'tomee': did you mean 'tome'"):
        config.with_methods(merge_tokens="tomee")


def test_methods_are_checked_wherever_they_come_from(tmp_path):
    config = BVLLMConfig()
    config.merge_tokens, config.token_sampler = False, "none"
    assert (config.merge_tokens, config.sample_tokens) == ("none", "none")
    config.update({"merge_frames": False, "adaptive_tokens": True})
    assert (config.merge_frames, config.tokens_policy) == ("none", "even")
    for wrong in ({"merge_tokens": "tomee"}, {"token_sampler": "nonee"}, {"tokens_policy": "evn"}):
        with pytest.raises(ValueError, match="did you mean"):
            config.update(wrong)
    BVLLMConfig().save_pretrained(tmp_path)
    for wrong in ({"frame_selector": "unifrom"}, {"merge_tokens": "tomee"}, {"tokens_policy": "evn"}):
        with pytest.raises(ValueError, match="did you mean"):
            BVLLMConfig.from_pretrained(tmp_path, **wrong)
    older = BVLLMConfig.from_pretrained(tmp_path, merge_frames=False, merge_tokens=True)
    assert (older.merge_frames, older.merge_tokens) == ("none", "bipartite")
    patches = BVLLMConfig.from_pretrained(tmp_path, sample_tokens="none", budget_tokens=9999)
    assert patches.placeholders.count(2) == 2 * patches.tokens_per_frame == 98


def test_the_number_of_tokens_follows_the_sampler():
    config = BVLLMConfig(tokens_per_frame=8)
    assert config.with_methods(sample_tokens="pool").tokens_per_frame == 8
    whole = config.with_methods(sample_tokens="divprune")
    assert whole.tokens_per_frame == 49
    assert whole.with_methods(sample_tokens="pool").tokens_per_frame == 32


@pytest.mark.parametrize(
    "slip, meant",
    [("gama", "gamma"), ("token_per_frame", "tokens_per_frame"), ("budgettokens", "budget_tokens")],
)
def test_a_slip_of_the_pen_is_named_wherever_it_is_made(slip, meant):
    with pytest.raises(ValueError, match=f"did you mean '{meant}'"):
        BVLLMConfig(**{slip: 1})
    config = BVLLMConfig()
    with pytest.raises(ValueError, match=f"did you mean '{meant}'"):
        setattr(config, slip, 1)


def test_names_of_transformers_are_not_taken_for_slips():
    assert (
        BVLLMConfig(output_attentions=True, problem_type="regression", somebodys_note=3).somebodys_note == 3
    )
