"""B-VLLM in Hugging Face's trio: configuration, model, processor. `import bvllm.hf` registers them."""

from bvllm.model.configuration_bvllm import BVLLMConfig
from bvllm.model.modeling_bvllm import BVLLMForConditionalGeneration, BVLLMModel
from bvllm.model.outputs import BVLLMVisualOutput
from bvllm.model.processing_bvllm import BVLLMProcessor
from bvllm.model.video_processing_bvllm import BVLLMVideoProcessor
from bvllm.model.visual import BVLLMPreTrainedModel

__all__ = [
    "BVLLMConfig",
    "BVLLMForConditionalGeneration",
    "BVLLMModel",
    "BVLLMPreTrainedModel",
    "BVLLMProcessor",
    "BVLLMVideoProcessor",
    "BVLLMVisualOutput",
]
