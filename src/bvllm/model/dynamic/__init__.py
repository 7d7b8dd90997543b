"""Dynamic-VLM in Hugging Face's trio: configuration, model, processor. `import bvllm.hf` registers them."""

from bvllm.model.dynamic.configuration_dynamic import DynamicVLMConfig
from bvllm.model.dynamic.modeling_dynamic import (
    DynamicVisualOutput,
    DynamicVLMForConditionalGeneration,
    DynamicVLMModel,
)
from bvllm.model.dynamic.processing_dynamic import DynamicVLMProcessor

__all__ = [
    "DynamicVLMConfig",
    "DynamicVLMForConditionalGeneration",
    "DynamicVLMModel",
    "DynamicVLMProcessor",
    "DynamicVisualOutput",
]
