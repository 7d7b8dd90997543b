"""Register B-VLLM with transformers, so that its Auto classes know `model_type: bvllm`.

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

__all__ = [
    "BVLLMConfig",
    "BVLLMForConditionalGeneration",
    "BVLLMModel",
    "BVLLMProcessor",
    "BVLLMVideoProcessor",
]

AutoConfig.register("bvllm", BVLLMConfig, exist_ok=True)
AutoModel.register(BVLLMConfig, BVLLMModel, exist_ok=True)
AutoModelForImageTextToText.register(BVLLMConfig, BVLLMForConditionalGeneration, exist_ok=True)
AutoModelForMultimodalLM.register(BVLLMConfig, BVLLMForConditionalGeneration, exist_ok=True)
AutoVideoProcessor.register(BVLLMConfig, BVLLMVideoProcessor, exist_ok=True)
AutoProcessor.register(BVLLMConfig, BVLLMProcessor, exist_ok=True)
