"""Register our models with transformers, so that its Auto classes know `bvllm` and `dynamic_vlm`.

    import bvllm.hf
    from transformers import AutoModelForImageTextToText, AutoProcessor

    model = AutoModelForImageTextToText.from_pretrained(folder)
    processor = AutoProcessor.from_pretrained(folder)

Importing this module is all there is to do; importing it again changes nothing. `bvllm.load_model` and the
command line need no registration.
"""

from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForImageTextToText,
    AutoModelForMultimodalLM,
    AutoProcessor,
)
from transformers.models.auto.video_processing_auto import AutoVideoProcessor  # top level: torchvision only

from bvllm.model import (
    BVLLMConfig,
    BVLLMForConditionalGeneration,
    BVLLMModel,
    BVLLMProcessor,
    BVLLMVideoProcessor,
)
from bvllm.model.dynamic import (
    DynamicVLMConfig,
    DynamicVLMForConditionalGeneration,
    DynamicVLMModel,
    DynamicVLMProcessor,
)

__all__ = [
    "BVLLMConfig",
    "BVLLMForConditionalGeneration",
    "BVLLMModel",
    "BVLLMProcessor",
    "BVLLMVideoProcessor",
    "DynamicVLMConfig",
    "DynamicVLMForConditionalGeneration",
    "DynamicVLMModel",
    "DynamicVLMProcessor",
]

AutoConfig.register("bvllm", BVLLMConfig, exist_ok=True)
AutoModel.register(BVLLMConfig, BVLLMModel, exist_ok=True)
AutoModelForImageTextToText.register(BVLLMConfig, BVLLMForConditionalGeneration, exist_ok=True)
AutoModelForMultimodalLM.register(BVLLMConfig, BVLLMForConditionalGeneration, exist_ok=True)
AutoVideoProcessor.register(BVLLMConfig, BVLLMVideoProcessor, exist_ok=True)
AutoProcessor.register(BVLLMConfig, BVLLMProcessor, exist_ok=True)

AutoConfig.register("dynamic_vlm", DynamicVLMConfig, exist_ok=True)
AutoModel.register(DynamicVLMConfig, DynamicVLMModel, exist_ok=True)
AutoModelForImageTextToText.register(DynamicVLMConfig, DynamicVLMForConditionalGeneration, exist_ok=True)
AutoModelForMultimodalLM.register(DynamicVLMConfig, DynamicVLMForConditionalGeneration, exist_ok=True)
AutoVideoProcessor.register(DynamicVLMConfig, BVLLMVideoProcessor, exist_ok=True)
AutoProcessor.register(DynamicVLMConfig, DynamicVLMProcessor, exist_ok=True)
