"""Bridge vision patches to the language model as the baselines do, after their released code."""

from bvllm.model.connectors.configuration import (
    FORMS,
    ConnectorConfig,
    LlamaVidConfig,
    VideoLlama2Config,
    connector_config,
    connector_dict,
)
from bvllm.model.connectors.llama_vid import FrameTokens, LlamaVidConnector
from bvllm.model.connectors.names_llama_vid import llama_vid_weights
from bvllm.model.connectors.regstage import RegStage
from bvllm.model.connectors.videollama2 import BlockOrigin, VideoLlama2Connector, block_origin

__all__ = [
    "FORMS",
    "BlockOrigin",
    "ConnectorConfig",
    "FrameTokens",
    "LlamaVidConfig",
    "LlamaVidConnector",
    "RegStage",
    "VideoLlama2Config",
    "VideoLlama2Connector",
    "block_origin",
    "connector_config",
    "connector_dict",
    "llama_vid_weights",
]
