"""B-VLLM as Hugging Face knows models: configuration, model, processor. Importing it registers them."""

from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForImageTextToText,
    AutoModelForMultimodalLM,
    AutoProcessor,
)
from transformers.models.auto.video_processing_auto import AutoVideoProcessor  # top level: torchvision only

from bvllm.common.text import split_options
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
    "register",
    "split_options",
]


def register() -> None:
    """Tell the Auto classes which of ours belongs to `model_type: bvllm`."""
    AutoConfig.register("bvllm", BVLLMConfig, exist_ok=True)
    AutoModel.register(BVLLMConfig, BVLLMModel, exist_ok=True)
    AutoModelForImageTextToText.register(BVLLMConfig, BVLLMForConditionalGeneration, exist_ok=True)
    AutoModelForMultimodalLM.register(BVLLMConfig, BVLLMForConditionalGeneration, exist_ok=True)
    AutoVideoProcessor.register(BVLLMConfig, BVLLMVideoProcessor, exist_ok=True)
    AutoProcessor.register(BVLLMConfig, BVLLMProcessor, exist_ok=True)


register()
