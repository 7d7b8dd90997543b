"""The baselines' settings: numbers of tokens, there and back, and what is refused."""

import json

import pytest

from bvllm.model.connectors import LlamaVidConfig, VideoLlama2Config, connector_config, connector_dict


@pytest.mark.parametrize(
    "config",
    [
        LlamaVidConfig(),
        LlamaVidConfig(content="grid", grid=4, reader="bert", show_cls=False),
        VideoLlama2Config(),
        VideoLlama2Config("spatial_conv", downsample=(1, 3, 3), depth=2, mlp_depth=1),
    ],
)
def test_there_and_back_through_json(config):
    assert connector_config(json.loads(json.dumps(connector_dict(config)))) == config
    assert connector_config(config) is config


def test_none_stays_none():
    assert connector_config(None) is None


@pytest.mark.parametrize(
    "form, block",
    [
        ("stc_connector", (5, 13, 13)),
        ("stc_connector_v35", (4, 12, 12)),
        ("stp_connector", (4, 12, 12)),
        ("spatial_conv", (10, 13, 13)),
        ("spatial_pool", (8, 12, 12)),
    ],
)
def test_the_authors_forms_on_eight_frames_of_clip_at_336(form, block):
    assert VideoLlama2Config(form).block(8, 24, 24) == block


def test_llama_vid_on_eva_at_224():
    assert LlamaVidConfig().tokens_per_frame(256) == 2
    assert LlamaVidConfig(content="grid", grid=2).tokens_per_frame(256) == 5
    assert LlamaVidConfig(content="all").tokens_per_frame(256) == 257


@pytest.mark.parametrize(
    "given, complaint",
    [
        ({"kind": "lama_vid"}, "did you mean 'llama_vid'"),
        ({}, "connector.kind must be one of"),
        ({"kind": "llama_vid", "querys": 3}, "did you mean 'queries'"),
        ({"kind": "llama_vid", "queries": 0}, "connector.queries must be a whole number of at least 1"),
        ({"kind": "llama_vid", "queries": True}, "connector.queries must be"),
        ({"kind": "llama_vid", "content": "grid"}, "connector.grid must be given"),
        ({"kind": "llama_vid", "grid": 2}, "connector.grid must be given"),
        ({"kind": "llama_vid", "content": "grid", "grid": 1}, "connector.grid must be a whole number"),
        ({"kind": "llama_vid", "content": "gird", "grid": 2}, "did you mean 'grid'"),
        ({"kind": "llama_vid", "reader": "brt"}, "did you mean 'bert'"),
        ({"kind": "llama_vid", "projector_layers": 0}, "connector.projector_layers must be"),
        ({"kind": "videollama2", "form": "stc"}, "connector.form must be one of"),
        ({"kind": "videollama2", "downsample": [2, 2]}, "connector.downsample must be"),
        ({"kind": "videollama2", "downsample": [2, 0, 2]}, "connector.downsample must be a whole number"),
        ({"kind": "videollama2", "depth": -1}, "connector.depth must be"),
        ({"kind": "videollama2", "mlp_depth": 0}, "connector.mlp_depth must be"),
    ],
)
def test_what_is_refused(given, complaint):
    with pytest.raises(ValueError, match=complaint):
        connector_config(given)


def test_a_video_too_short_is_refused():
    with pytest.raises(ValueError, match="take more frames"):
        VideoLlama2Config("stp_connector").block(1, 4, 4)
